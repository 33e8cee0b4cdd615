"""Settings: where they come from, what a mistake is told, and that secrets stay secret."""

import json
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from autotagger.cli.template import config_text, toml_value
from autotagger.config import OLD_KEYS, api_key, cautions, default_config_path, load_settings, variables
from autotagger.configfile import set_key
from autotagger.errors import BadConfig
from autotagger.settings import ImmichSettings, Settings, leaves

KEY = "s3cret-key-of-the-tests"


def load(tmp_path: Path, toml: str = "", environ: Mapping[str, str] | None = None, **flags: Any) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(toml, encoding="utf-8")
    return load_settings(path, flags, environ or {})


def complaint(tmp_path: Path, toml: str = "", environ: Mapping[str, str] | None = None, **flags: Any) -> str:
    with pytest.raises(BadConfig) as caught:
        load(tmp_path, toml, environ, **flags)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    return caught.value.message


def test_each_layer_goes_before_the_one_below(tmp_path: Path) -> None:
    toml = '[model]\nname = "from-file"\n[immich]\nbatch_size = 1\nconcurrency = 2\n'
    environ = {"AUTOTAGGER_IMMICH_CONCURRENCY": "3", "AUTOTAGGER_MODEL": "from-environment"}
    settings = load(tmp_path, toml, environ, model={"name": "from-flag"}, immich={"pace": None})
    assert settings.immich.picture == "preview"
    assert settings.immich.batch_size == 1
    assert settings.immich.concurrency == 3
    assert settings.model.name == "from-flag"
    assert settings.immich.pace == 0.0


def test_the_documented_defaults() -> None:
    settings = Settings()
    assert (settings.marker, settings.model.name, settings.model.device) == (
        "auto:processed",
        "wd-vit-tagger-v3",
        "auto",
    )
    assert (settings.immich.picture, settings.immich.batch_size) == ("preview", 25)
    assert settings.select.types == ("image", "video")
    assert settings.select.visibilities == ("timeline", "archive")
    assert settings.verify.sample == 0.02


#: A value for each key that a rule below cannot make up.
OTHERS: Mapping[str, tuple[str, Any]] = {
    "immich.api_key": ("/x", SecretStr("/x")),
    "immich.base_url": ("http://photos:2283", "http://photos:2283"),
    "immich.headers": ('{"X-Door": "/run/door"}', {"X-Door": Path("/run/door")}),
    "select.taken": ("2015-01..", "2015-01.."),
    "select.uploaded": ("..2020", "..2020"),
    "policy.threshold": ('{"general": 0.5, "rating": 0.4}', {"general": 0.5, "rating": 0.4}),
    "policy.slash": ("|", "|"),
    "policy.whitelist": ('["a, b", "regex:[ab]"]', ("a, b", "regex:[ab]")),
    "video.combine": ('{"general": "mean"}', {"general": "mean"}),
    "watch.hours": ("22:00-07:00, 12:30-13:30", ("22:00-07:00", "12:30-13:30")),
}


def another_value(path: tuple[str, ...]) -> tuple[str, Any]:
    """A value that is not the key's default, as a variable spells it and as the settings then hold it."""
    if (found := OTHERS.get(".".join(path))) is not None:
        return found
    default, field = _at(Settings().model_dump(), path), _field(path)
    if get_origin(field.annotation) is Literal:
        other = next(choice for choice in get_args(field.annotation) if choice != default)
        return other.swapcase(), other
    match default:
        case bool():
            return str(not default).lower(), not default
        case int() | float():
            for value in (default + 1, default / 2, 1):
                with suppress(ValidationError):
                    Settings.model_validate(_nested(path, value))
                    return str(value), value
        case tuple() if default:
            return default[-1], default[-1:]
        case dict() if field.examples:
            (example,) = field.examples
            return json.dumps(example), {
                key: tuple(one) if isinstance(one, list) else one for key, one in example.items()
            }
        case None:
            return "/x", Path("/x")
    return "other", type(default)(["other"]) if isinstance(default, tuple) else type(default)("other")


@pytest.mark.parametrize("path", [*leaves()], ids=".".join)
def test_every_key_can_be_set_from_the_environment(path: tuple[str, ...], tmp_path: Path) -> None:
    """To something that is not its default: a variable that nobody reads would not show otherwise."""
    value, expected = another_value(path)
    environ = {"AUTOTAGGER_" + "_".join(path).upper(): value}
    if path == ("policy", "rating_by"):
        environ["AUTOTAGGER_POLICY_THRESHOLD_RATING"] = "0.4"
    found = _at(load(tmp_path, environ=environ).model_dump(), path)
    assert found == expected
    assert found != _at(Settings().model_dump(), path)


def _nested(path: tuple[str, ...], value: Any) -> Any:
    for step in reversed(path):
        value = {step: value}
    return value


def _field(path: tuple[str, ...]) -> Any:
    section: Any = Settings
    for step in path[:-1]:
        section = section.model_fields[step].annotation
    return section.model_fields[path[-1]]


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (" a_*, b ,,", ("a_*", "b")),
        (' ["a_*", "b, c"]', ("a_*", "b, c")),
        ("[]", ()),
        ("regex:[ab]", ("regex:[ab]",)),
    ],
)
def test_lists_in_the_environment(written: str, meant: tuple[str, ...], tmp_path: Path) -> None:
    assert load(tmp_path, environ={"AUTOTAGGER_POLICY_BLACKLIST": written}).policy.blacklist == meant


@pytest.mark.parametrize("written", ["[1girl]", "['1girl', 'solo']", "[1girl, solo", '["1girl"] solo'])
def test_what_begins_with_a_bracket_is_never_a_tag(written: str, tmp_path: Path) -> None:
    message = complaint(tmp_path, environ={"AUTOTAGGER_POLICY_BLACKLIST": written})
    assert "AUTOTAGGER_POLICY_BLACKLIST must be a list, in JSON" in message


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ("[policy.threshold]\ngeneral = true", r"[policy.threshold] general"),
        ("[policy.top]\ngeneral = true", r"[policy.top] general"),
        ("[verify]\nsample = false", "[verify] sample"),
        ("[immich]\nbatch_size = true", "[immich] batch_size"),
    ],
)
def test_true_is_no_number(toml: str, key: str, tmp_path: Path) -> None:
    assert f"{key}: must be a number, not true or false" in complaint(tmp_path, toml)
    with pytest.raises(BadConfig, match="must be a number"):
        load_settings(
            environ={"AUTOTAGGER_CONFIG": "/dev/null", "AUTOTAGGER_POLICY_THRESHOLD": '{"general": true}'}
        )


@pytest.mark.parametrize("quote", ["'", '"', " "])
def test_quotes_around_a_key_or_an_address_are_not_part_of_it(quote: str, tmp_path: Path) -> None:
    """`docker run --env-file` passes them on."""
    (tmp_path / "key").write_bytes(f"\ufeff{quote}{KEY}{quote}\r\n".encode())
    environ = {
        "IMMICH_BASE_URL": f"{quote}http://photos:2283{quote}",
        "IMMICH_API_KEY": f"{quote}{KEY}{quote}",
    }
    immich = load(tmp_path, environ=environ).immich
    assert (immich.base_url, api_key(immich).get_secret_value()) == ("http://photos:2283", KEY)
    by_file = load(tmp_path, environ={"IMMICH_API_KEY_FILE": f"{quote}{tmp_path / 'key'}{quote}"}).immich
    assert api_key(by_file).get_secret_value() == KEY


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + b'marker = "done"\r\n')
    assert load_settings(path, environ={}).marker == "done"
    set_key(path, "model", "streams", 3)
    assert load_settings(path, environ={}).model.streams == 3


def test_the_address_as_immich_s_own_command_line_calls_it(tmp_path: Path) -> None:
    theirs = {"IMMICH_INSTANCE_URL": "http://theirs:2283/api"}
    assert load(tmp_path, environ=theirs).immich.base_url == "http://theirs:2283/api"
    for name in ("IMMICH_BASE_URL", "AUTOTAGGER_IMMICH_BASE_URL"):
        both = {**theirs, name: "http://ours:2283"}
        assert load(tmp_path, environ=both).immich.base_url == "http://ours:2283"
        assert list(variables(both)) == [name]


def test_types_and_visibilities_still_work_where_they_were_before_select(tmp_path: Path) -> None:
    settings = load(tmp_path, "[immich]\ntypes = ['image']", {"AUTOTAGGER_IMMICH_VISIBILITIES": "archive,hidden"})
    assert settings.select.types == ("image",)
    assert settings.select.visibilities == ("archive", "hidden")


@pytest.mark.parametrize("text", ["2015-13", "yesterday", "..", "2016..2015", "2015-02-30"])
def test_days_that_are_none(text: str, tmp_path: Path) -> None:
    assert "[select] taken" in complaint(tmp_path, environ={"AUTOTAGGER_SELECT_TAKEN": text})


def test_an_account_s_own_selection_goes_before_the_common_one(tmp_path: Path) -> None:
    toml = (
        "[select]\nalbums = ['Anime']\nexclude_tags = ['no']\n"
        "[[account]]\nname = 'anna'\napi_key = 'a'\n[account.select]\nalbums = ['Art']\n"
        "[[account]]\nname = 'ben'\napi_key = 'b'\n"
    )
    settings = load(tmp_path, toml)
    anna, ben = settings.selected_by("anna"), settings.selected_by("ben")
    assert (anna.albums, anna.exclude_tags) == (("Art",), ("no",))
    assert ben == settings.select


def test_tables_in_the_environment(tmp_path: Path) -> None:
    environ = {
        "AUTOTAGGER_POLICY_RENAME": '{"1girl": "girl"}',
        "AUTOTAGGER_POLICY_IMPLIES": '{"cat_ears": ["animal_ears"]}',
        "AUTOTAGGER_POLICY_THRESHOLD": '{"general": 0.3, "character": 0.8}',
        "AUTOTAGGER_POLICY_THRESHOLD_GENERAL": "0.4",
        "AUTOTAGGER_POLICY_TEMPLATE_CHARACTER": "who:{name}",
        "AUTOTAGGER_POLICY_TOP_GENERAL": "30",
        "AUTOTAGGER_POLICY_MCUT_CHARACTER": "0.15",
    }
    policy = load(tmp_path, environ=environ).policy
    assert policy.rename == {"1girl": "girl"}
    assert policy.implies == {"cat_ears": ("animal_ears",)}
    assert policy.threshold == {"general": 0.4, "character": 0.8}
    assert (policy.template, policy.top, policy.mcut) == (
        {"character": "who:{name}"},
        {"general": 30},
        {"character": 0.15},
    )
    for wrong in ("{", "[]"):
        assert "AUTOTAGGER_POLICY_RENAME must be a table in JSON" in complaint(
            tmp_path, environ={"AUTOTAGGER_POLICY_RENAME": wrong}
        )


def test_an_empty_variable_is_not_set_but_empties_a_list(tmp_path: Path) -> None:
    toml = '[policy]\nblacklist = ["x"]\n[model]\nname = "m"\n[immich]\napi_key_file = "/k"\n'
    environ = {
        "AUTOTAGGER_POLICY_BLACKLIST": "",
        "AUTOTAGGER_MODEL": "",
        "IMMICH_API_KEY_FILE": "",
        "AUTOTAGGER_POLICY_THRESHOLD_GENERAL": "",
    }
    settings = load(tmp_path, toml, environ)
    assert settings.policy.blacklist == ()
    assert settings.policy.threshold == {}
    assert settings.model.name == "m"
    assert settings.immich.api_key_file == Path("/k")


def test_variables_that_are_not_settings_are_let_be(tmp_path: Path) -> None:
    theirs = {
        "AUTOTAGGER_SERVICE_HOST": "10.0.0.1",
        "AUTOTAGGER_PORT_8080_TCP_ADDR": "10.0.0.1",
        "AUTOTAGGER_DEBUG": "1",
    }
    assert load(tmp_path, environ=theirs | {"HOME": "/x"}) == load(tmp_path)


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[immich]\nbatchsize = 3", r"unknown key \[immich\] batchsize: did you mean \[immich\] batch_size\?"),
        ("[imich]\nbase_url = 'x'", r"unknown key imich: did you mean immich\?"),
        ("base_url = 'x'", r"unknown key base_url: did you mean \[immich\] base_url\?"),
        ("[model]\nblacklist = []", r"did you mean \[policy\] blacklist\?"),
        ("[immich]\npicture = 'previews'", r"\[immich\] picture: .*did you mean preview\?"),
        ("[select]\ntypes = ['image', 'videos']", r"\[select\] types: .*did you mean video\?"),
        ("[immich]\nbatch_size = 0", r"\[immich\] batch_size: .*greater than or equal to 1"),
        ("[immich]\nbatch_size = 'many'", r"\[immich\] batch_size: .*integer"),
        ("[policy.threshold]\ngeneral = 1.5", r"\[policy.threshold\] general: .*less than or equal to 1"),
        ("[policy]\nslash = 'a/b'", r"\[policy\] slash: must not contain a slash"),
        ("[policy]\nblacklist = ['regex:(']", r"\[policy\] blacklist: regex:\( is not a regular expression"),
        ("[policy.tag_threshold]\n'regex:[' = 0.5", r"\[policy\] tag_threshold: regex:\[ is not a regular"),
        ("[policy.template]\ngeneral = 'x'", r"\[policy\] template: 'x' for general must contain \{name\}"),
        ("[policy.template]\ngeneral = '{name}{x}'", r"may contain \{name\} and \{category\}, but no other"),
        ("[policy.template]\ngeneral = 'a//{name}'", r"must not start or end with a slash"),
        ("[policy.template]\ngeneral = '&{name}'", r"must not contain &"),
        ("[policy]\nrating_by = 'threshold'", r"rating_by = \"threshold\" needs \[policy.threshold\] rating"),
        ("[policy]\nhide = {}", r"did you mean \[policy\] hides\?"),
        ("marker = 'auto/processed'", r"marker: must be a tag name"),
        ("marker = ' '", r"marker: must be a tag name"),
        ("immich = 5", r"immich: "),
        ("log_level = 'infos'", r"log_level: "),
        ("[immich]\napi_key = 'k'\n[[account]]\nname = 'ben'", r"^an API key in \[immich\] .* cannot be combined"),
        (
            "[[account]]\nname = 'ben'\n[[account]]\nname = 'ben'",
            r"^two \[\[account\]\] sections have the name ben",
        ),
        ("[[account]]\nnam = 'ben'", r"unknown key \[account\] nam: did you mean \[account\] name\?"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_right_key(toml: str, says: str, tmp_path: Path) -> None:
    message = complaint(tmp_path, toml)
    assert re.search(says, message)
    assert "config.toml" in message


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    message = complaint(tmp_path, "[immich]\npace = -1\n[model]\nstreams = 1000", immich={"picture": "raw"})
    assert all(key in message for key in ("pace", "streams", "picture"))


def test_a_misspelt_variable_is_named(tmp_path: Path) -> None:
    message = complaint(tmp_path, environ={"AUTOTAGGER_IMMICH_BATCHSIZE": "3"})
    assert message == (
        "unknown environment variable AUTOTAGGER_IMMICH_BATCHSIZE: did you mean AUTOTAGGER_IMMICH_BATCH_SIZE?"
    )


def test_a_file_that_is_not_there_or_no_toml(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"nowhere\.toml: No such file"):
        load_settings(tmp_path / "nowhere.toml", environ={})
    assert "cannot read the configuration" in complaint(tmp_path, "marker = ")
    (tmp_path / "config.toml").write_bytes(b'marker = "\xff"')
    with pytest.raises(BadConfig, match="cannot read the configuration"):
        load_settings(tmp_path / "config.toml", environ={})


def test_the_file_is_found_by_variable_or_in_the_user_s_folder(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    path = default_config_path(environ)
    path.parent.mkdir()
    path.write_text('marker = "users"')
    (tmp_path / "named.toml").write_text('marker = "named"')
    assert load_settings(environ=environ).marker == "users"
    assert load_settings(environ=environ | {"AUTOTAGGER_CONFIG": str(tmp_path / "named.toml")}).marker == "named"


def test_relative_paths_are_meant_from_the_file_s_folder(tmp_path: Path) -> None:
    settings = load(tmp_path, 'state_dir = "state"\n[immich]\napi_key_file = "~/key"\nca_file = "/etc/ca.pem"')
    assert settings.state_dir == tmp_path / "state"
    assert settings.immich.api_key_file == Path("~/key").expanduser()
    assert settings.immich.ca_file == Path("/etc/ca.pem")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().immich.batch_size = 3  # type: ignore[misc]


def test_the_key_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"\n {KEY}\n")
    settings = load(tmp_path, '[immich]\napi_key_file = "key"')
    assert api_key(settings.immich).get_secret_value() == KEY


@pytest.mark.parametrize(
    ("toml", "environ"),
    [
        ('api_key_file = "wrong"', {"IMMICH_API_KEY": KEY}),
        ('api_key = "wrong"', {"IMMICH_API_KEY_FILE": "KEY_FILE"}),
        ('api_key = "wrong"', {"IMMICH_API_KEY": KEY}),
    ],
)
def test_a_key_given_in_one_way_goes_before_one_from_below_in_the_other(
    toml: str, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    environ = {name: value.replace("KEY_FILE", str(tmp_path / "key")) for name, value in environ.items()}
    settings = load(tmp_path, f'[immich]\nbase_url = "x"\n{toml}', environ)
    assert api_key(settings.immich).get_secret_value() == KEY
    assert settings.immich.base_url == "x"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "must contain only the key"),
        (b"two words", "must contain only the key"),
        (b"\xff", "cannot read"),
    ],
)
def test_an_unusable_key_file_is_named_but_never_its_content(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadConfig, match=says) as caught:
        api_key(ImmichSettings(api_key_file=path))
    assert str(path) in caught.value.message
    assert "two words" not in caught.value.message


def test_no_key_at_all_says_where_to_get_one() -> None:
    with pytest.raises(BadConfig, match=r"IMMICH_API_KEY.*Account Settings"):
        api_key(ImmichSettings(api_key=SecretStr(" ")))


def test_the_key_is_never_shown(tmp_path: Path) -> None:
    settings = load(tmp_path, environ={"IMMICH_API_KEY": KEY})
    assert KEY not in f"{settings!r} {settings} {settings.model_dump_json()}"
    message = complaint(tmp_path, "[immich]\npace = -1", {"IMMICH_API_KEY": KEY})
    assert KEY not in message


def test_the_template_shows_every_key_and_changes_nothing(tmp_path: Path) -> None:
    text = config_text({})
    assert load(tmp_path, text) == Settings()
    shown = re.findall(r"^# (\w+) = ", text, re.MULTILINE)
    assert sorted(shown) == sorted(path[-1] for path in leaves())


def test_the_template_s_defaults_are_the_defaults(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = )(?!\.\.\.)", r"\1", config_text({}), flags=re.MULTILINE)
    assert load(tmp_path, text) == Settings()
    assert len(tomllib.loads(text)["immich"]) >= 10


def test_the_template_holds_what_is_given(tmp_path: Path) -> None:
    text = config_text(
        {("immich", "base_url"): 'http://"x"\\', ("marker",): "mine", ("immich", "ca_file"): Path("/c")}
    )
    settings = load(tmp_path, text)
    assert settings.immich.base_url == 'http://"x"\\'
    assert settings.marker == "mine"
    assert settings.immich.ca_file == Path("/c")


# TOML's integers have 64 bits; half a surrogate pair is no text
_texts = st.text(st.characters(exclude_categories=["Cs"]))
_values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)


@given(_values)
def test_toml_reads_what_toml_value_wrote(value: object) -> None:
    assert tomllib.loads(f"key = {toml_value(value)}") == {"key": value}


@pytest.mark.parametrize("path", [*leaves()], ids=".".join)
def test_the_readme_names_every_key(path: tuple[str, ...]) -> None:
    table = (
        (Path(__file__).parent.parent / "README.md").read_text().split("## Settings")[1].split("## Exit codes")[0]
    )
    section = re.split(r"\*\*`\[(\w+)\]`\*\*", table)
    keys = dict(zip(["", *section[1::2]], section[::2], strict=True))
    assert f"`{path[-1]}`" in keys["".join(path[:-1])]


def test_files_that_show_the_key_to_everybody_are_named(tmp_path: Path) -> None:
    config, key_file = tmp_path / "config.toml", tmp_path / "key"
    key_file.write_text(KEY)

    def said(toml: str, config_mode: int, key_mode: int) -> list[str]:
        config.write_text(toml)
        config.chmod(config_mode)
        key_file.chmod(key_mode)
        return cautions(load_settings(config, environ={}), config, {})

    by_file, inside = '[immich]\napi_key_file = "key"', f'[immich]\napi_key = "{KEY}"'
    assert said(by_file, 0o644, 0o640) == []
    [line] = said(by_file, 0o644, 0o644)
    assert f"chmod 600 {key_file}" in line
    assert said(inside, 0o600, 0o644) == []
    [line] = said(inside, 0o644, 0o644)
    assert f"chmod 600 {config}" in line
    assert KEY not in line
    assert said("", 0o644, 0o644) == []
    key_file.unlink()
    assert cautions(Settings(immich=ImmichSettings(api_key_file=key_file)), None, {}) == []


@pytest.mark.parametrize("environ", [{}, {"AUTOTAGGER_IMMICH_MOST_QUEUED": "9"}])
def test_the_old_name_of_max_queued_works_with_one_warning(tmp_path: Path, environ: dict[str, str]) -> None:
    toml = "" if environ else "[immich]\nmost_queued = 9\n"
    settings = load(tmp_path, toml, environ)
    config = tmp_path / "config.toml"
    assert settings.immich.max_queued == 9
    [warning] = cautions(settings, config, environ)
    assert ("AUTOTAGGER_IMMICH_MOST_QUEUED" if environ else f"[immich] most_queued in {config}") in warning
    assert "is now called [immich] max_queued (AUTOTAGGER_IMMICH_MAX_QUEUED)" in warning


def test_an_old_name_in_both_places_is_one_warning_and_the_environment_counts(tmp_path: Path) -> None:
    environ = {"AUTOTAGGER_IMMICH_MOST_QUEUED": "9"}
    settings = load(tmp_path, "[immich]\nmost_queued = 5\n", environ)
    assert settings.immich.max_queued == 9
    assert len(cautions(settings, tmp_path / "config.toml", environ)) == 1


@pytest.mark.parametrize(
    ("toml", "environ", "expected"),
    [
        ("most_queued = 5\nmax_queued = 6", {}, 6),
        ("max_queued = 6", {"AUTOTAGGER_IMMICH_MOST_QUEUED": "9"}, 9),
        ("most_queued = 5", {"AUTOTAGGER_IMMICH_MAX_QUEUED": "7"}, 7),
        ("", {"AUTOTAGGER_IMMICH_MOST_QUEUED": "9", "AUTOTAGGER_IMMICH_MAX_QUEUED": "7"}, 7),
        ("most_queued = 5", {"AUTOTAGGER_IMMICH_MOST_QUEUED": ""}, 5),
    ],
)
def test_the_new_name_goes_before_the_old_and_the_environment_before_the_file(
    toml: str, environ: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert load(tmp_path, f"[immich]\n{toml}\n", environ).immich.max_queued == expected


@pytest.mark.parametrize("environ", [{}, {"AUTOTAGGER_IMMICH_RATE": "4"}])
def test_the_rate_is_accepted_and_does_nothing_but_warn(tmp_path: Path, environ: dict[str, str]) -> None:
    toml = "" if environ else "[immich]\nrate = 4.0\n"
    settings = load(tmp_path, toml, environ)
    assert settings == load(tmp_path)
    (tmp_path / "config.toml").write_text(toml)
    [warning] = cautions(settings, tmp_path / "config.toml", environ)
    assert "no longer does anything; use [immich] concurrency or pace instead" in warning


def test_a_wrong_value_of_an_old_key_is_told_of_under_its_new_name(tmp_path: Path) -> None:
    assert "[immich] max_queued: " in complaint(tmp_path, "[immich]\nmost_queued = 'many'")


def test_a_misspelt_key_is_never_told_an_old_name(tmp_path: Path) -> None:
    assert "did you mean [immich] max_queued?" in complaint(tmp_path, "[immich]\nmosst_queued = 5")
    message = complaint(tmp_path, environ={"AUTOTAGGER_IMMICH_MOST_QUEUE": "5"})
    assert message.endswith("did you mean AUTOTAGGER_IMMICH_MAX_QUEUED?")


def test_old_keys_are_no_keys_and_their_successors_are() -> None:
    for path, old in OLD_KEYS.items():
        assert path not in set(leaves())
        assert old.successor in set(leaves()) if old.successor else old.advice
