"""Where settings come from, and that the key is shown nowhere."""

import json
from pathlib import Path

import pytest

from autotagger.errors import BadConfig
from autotagger.origins import HIDDEN, Resolved, resolve
from autotagger.settings import leaves
from tests.forked import command

KEY = "a-key-that-nobody-may-see"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        f'[immich]\nbase_url = "nas:2283"\napi_key = "{KEY}"\nbatch_size = 5\n'
        "[policy.threshold]\ngeneral = 0.4\n[policy]\nblacklist = ['x']\n"
    )
    return path


def by_key(config: Path, environ: dict[str, str]) -> dict[str, Resolved]:
    return {setting.key: setting for setting in resolve(config, environ)}


def test_every_setting_has_its_value_and_its_origin(config: Path) -> None:
    environ = {
        "AUTOTAGGER_IMMICH_BATCH_SIZE": "7",
        "AUTOTAGGER_MODEL": "palette",
        "AUTOTAGGER_POLICY_THRESHOLD_CHARACTER": "0.9",
        "AUTOTAGGER_IMMICH_PACE": "",
        "AUTOTAGGER_DEBUG": "1",
        "HOME": "/root",
    }
    found = by_key(config, environ)
    assert len(found) == len(list(leaves()))
    assert found["[immich] base_url"] == Resolved("[immich] base_url", "nas:2283", str(config))
    assert found["[immich] batch_size"] == Resolved("[immich] batch_size", 7, "AUTOTAGGER_IMMICH_BATCH_SIZE")
    assert found["[model] name"].origin == "AUTOTAGGER_MODEL"
    assert found["[immich] pace"].origin == found["marker"].origin == "default"
    threshold = found["[policy] threshold"]
    assert threshold.value == {"general": 0.4, "character": 0.9}
    assert threshold.origin == f"{config}, AUTOTAGGER_POLICY_THRESHOLD_CHARACTER"
    assert found["[immich] api_key"] == Resolved("[immich] api_key", HIDDEN, str(config))


def test_the_key_file_of_the_environment_goes_before_the_key_of_the_file(config: Path) -> None:
    found = by_key(config, {"IMMICH_API_KEY_FILE": "/run/secrets/key"})
    assert found["[immich] api_key"] == Resolved("[immich] api_key", None, "default")
    assert found["[immich] api_key_file"].origin == "IMMICH_API_KEY_FILE"


def test_a_wrong_setting_is_an_error_here_too(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("marke = 'x'")
    with pytest.raises(BadConfig, match="did you mean marker"):
        resolve(tmp_path / "c.toml", {})


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_the_command_shows_everything_but_the_key(form: str, config: Path) -> None:
    done = command("--config", config, "config", "--format", form, environ={"HOME": "/root", "COLUMNS": "200"})
    assert done.code == 0
    assert KEY not in done.out + done.err
    assert "nas:2283" in done.out
    if form == "json":
        rows = {row["key"]: row for row in json.loads(done.out)}
        assert rows["[immich] batch_size"]["value"] == 5
        assert rows["[immich] batch_size"]["from"] == str(config)


def test_a_key_under_its_old_name_has_an_origin_and_a_key_that_is_gone_has_none(config: Path) -> None:
    config.write_text("[immich]\nmost_queued = 5\nrate = 3.0\n")
    found = by_key(config, {})
    assert found["[immich] max_queued"] == Resolved("[immich] max_queued", 5, str(config))
    assert "[immich] rate" not in found
    found = by_key(config, {"AUTOTAGGER_IMMICH_MOST_QUEUED": "7", "AUTOTAGGER_IMMICH_RATE": "1"})
    assert found["[immich] max_queued"] == Resolved("[immich] max_queued", 7, "AUTOTAGGER_IMMICH_MOST_QUEUED")
    both = {"AUTOTAGGER_IMMICH_MOST_QUEUED": "7", "AUTOTAGGER_IMMICH_MAX_QUEUED": "8"}
    assert by_key(config, both)["[immich] max_queued"].origin == "AUTOTAGGER_IMMICH_MAX_QUEUED"


@pytest.mark.parametrize("words", [("config",), ("status",), ("plan", "--score", "0")])
def test_a_command_warns_once_of_an_old_key(words: tuple[str, ...], config: Path, tmp_path: Path) -> None:
    config.write_text(f"state_dir = '{tmp_path}'\n[immich]\nmost_queued = 5\n")
    done = command("--config", config, *words, environ={"HOME": "/root"})
    assert done.err.count("is now called [immich] max_queued") == 1
