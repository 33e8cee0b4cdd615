import pytest

from autotagger.errors import BadConfig
from autotagger.immich.address import api_root, is_exposed
from tests.immich.support import KEY


@pytest.mark.parametrize(
    ("typed", "root"),
    [
        ("192.168.1.100:3000", "http://192.168.1.100:3000/api"),
        ("http://192.168.1.100:2283", "http://192.168.1.100:2283/api"),
        ("http://192.168.1.100:2283/", "http://192.168.1.100:2283/api"),
        ("http://192.168.1.100:2283/api", "http://192.168.1.100:2283/api"),
        ("http://192.168.1.100:2283/api/", "http://192.168.1.100:2283/api"),
        ("192.168.1.100:2283/api//", "http://192.168.1.100:2283/api"),
        ("https://host/sub/path", "https://host/sub/path/api"),
        ("https://host/sub/path/api", "https://host/sub/path/api"),
        ("  https://photos.example.org \n", "https://photos.example.org/api"),
        ('"https://photos.example.org"', "https://photos.example.org/api"),
        ("HTTPS://Photos.Example.org", "https://photos.example.org/api"),
        ("photos.example.org:443", "https://photos.example.org/api"),
        ("localhost", "http://localhost/api"),
        ("[fe80::1]:2283", "http://[fe80::1]:2283/api"),
        ("http://host:2283/?from=browser#top", "http://host:2283/api"),
        ("http://immich_server:2283", "http://immich_server:2283/api"),
    ],
)
def test_any_form_a_person_types(typed: str, root: str) -> None:
    assert str(api_root(typed)) == root


@pytest.mark.parametrize(
    "typed", ["", "  ", "ftp://host", "http://", "http://host:port", "http://a b", "host:99999"]
)
def test_what_is_no_address_is_said_so_with_an_example(typed: str) -> None:
    with pytest.raises(BadConfig, match="for example"):
        api_root(typed)


@pytest.mark.parametrize("typed", [f"https://me:{KEY}@host", f"http://me:{KEY}@host:port", f"x://me:{KEY}@host"])
def test_a_password_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(BadConfig) as caught:
        api_root(typed)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "exposed"),
    [
        ("http://photos.example.org", True),
        ("http://8.8.8.8:2283", True),
        ("http://[2606:4700::1111]", True),
        ("https://photos.example.org", False),
        ("https://8.8.8.8", False),
        ("http://192.168.1.100:2283", False),
        ("http://127.0.0.1", False),
        ("http://[fd00::1]:2283", False),
        ("http://100.64.0.7", False),  # a carrier's or an overlay network's own range
        ("http://immich-server:2283", False),
        ("http://nas.local", False),
        ("http://nas.home.arpa.:2283", False),
        ("http://localhost:2283", False),
    ],
)
def test_a_key_that_would_travel_in_the_open(base_url: str, exposed: bool) -> None:
    assert is_exposed(api_root(base_url)) is exposed


@pytest.mark.parametrize(
    "typed",
    [
        f"me:{KEY}@host",
        f"http://me:/{KEY}/x@host",
        f"http://me:x@{KEY}@host:port",
        f"me:/{KEY}@host:port",
        f"http://host:port/?apiKey={KEY}",
        f"ftp://host/api#{KEY}",
    ],
)
def test_neither_a_password_nor_a_key_in_the_address_is_repeated(typed: str) -> None:
    with pytest.raises(BadConfig) as caught:
        api_root(typed)
    assert KEY not in str(caught.value)
