"""Headers for a proxy: sent with every request, hidden in every answer, never in the key's place."""

from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from autotagger.config import load_settings
from autotagger.errors import BadConfig, ServerRefused
from autotagger.immich.client import ImmichClient
from autotagger.immich.proxy_headers import read_proxy_headers
from autotagger.settings import ImmichSettings
from tests.immich.support import KEY, client_of, serving

VALUE = "a-secret-of-the-proxy"


def files(folder: Path, **values: str) -> dict[str, Path]:
    found = {}
    for name, value in values.items():
        path = folder / name
        path.write_text(value)
        found[name.replace("_", "-")] = path
    return found


async def test_they_go_with_every_request_and_beside_the_key(tmp_path: Path) -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    async def guarded(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers.get("CF-Access-Client-Id"), request.headers.get("x-api-key")))
        if request.headers.get("CF-Access-Client-Id") != VALUE:
            return web.Response(status=403, text="<html>who are you?</html>", content_type="text/html")
        body = {"major": 3, "minor": 0, "patch": 3} if request.path.endswith("version") else []
        return web.json_response(body)

    async with serving(guarded) as server:
        async with client_of(
            server.url, headers=files(tmp_path, **{"CF_Access_Client_Id": f"{VALUE}\n"})
        ) as client:
            await client.tags()
            await client.version()
        assert {(value, key) for _, value, key in seen} == {(VALUE, KEY), (VALUE, None)}
        async with client_of(server.url, retry_budget_s=0) as client:
            with pytest.raises(ServerRefused):
                await client.tags()


async def test_a_proxy_that_echoes_them_shows_them_to_nobody(tmp_path: Path) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"message": f"{request.headers['X-Door']} is not enough"}, status=400)

    async with serving(echo) as server, client_of(server.url, headers=files(tmp_path, X_Door=VALUE)) as client:
        with pytest.raises(Exception, match=r"\[X-Door\] is not enough") as caught:
            await client.tags()
        assert VALUE not in repr(caught.value)


async def test_they_never_go_to_another_address(tmp_path: Path) -> None:
    elsewhere: list[str] = []

    async def other(request: web.Request) -> web.Response:
        elsewhere.append(request.path)
        return web.json_response([])

    async with serving(other) as stranger:

        async def redirect(request: web.Request) -> web.Response:
            raise web.HTTPFound(f"{stranger.url}{request.path}")

        async with (
            serving(redirect) as server,
            client_of(server.url, headers=files(tmp_path, X_Door=VALUE)) as client,
        ):
            with pytest.raises(ServerRefused, match="redirects to another address"):
                await client.tags()
    assert elsewhere == []


@pytest.mark.parametrize("name", ["X-API-Key", "cookie", "x-immich-user-token", "Host", "Range", "a b", ""])
def test_a_header_that_is_not_free_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "value").write_text(VALUE)
    with pytest.raises(BadConfig) as caught:
        read_proxy_headers({name: tmp_path / "value"})
    assert VALUE not in caught.value.message


@pytest.mark.parametrize("value", ["", "two\nlines", "ü", "x" * 9000])
def test_a_value_that_is_none_is_refused(value: str, tmp_path: Path) -> None:
    (tmp_path / "value").write_text(value)
    with pytest.raises(BadConfig, match="must hold one line of plain characters"):
        read_proxy_headers({"X-Door": tmp_path / "value"})


def test_only_basic_authentication_stands_beside_the_key(tmp_path: Path) -> None:
    (tmp_path / "basic").write_text("Basic dXNlcjpwYXNz")
    (tmp_path / "bearer").write_text("Bearer token")
    assert read_proxy_headers({"Authorization": tmp_path / "basic"}) == {"Authorization": "Basic dXNlcjpwYXNz"}
    with pytest.raises(BadConfig, match="only basic authentication"):
        read_proxy_headers({"Authorization": tmp_path / "bearer"})


def test_a_missing_file_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    settings = ImmichSettings(base_url="http://host", headers={"X-Door": tmp_path / "none"})
    with pytest.raises(BadConfig, match=r"X-Door: cannot read .*No such file"):
        ImmichClient(settings, SecretStr(KEY))


def test_a_relative_file_is_meant_from_the_configuration_s_folder(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[immich.headers]\nX-Door = 'door'\n")
    assert load_settings(path, environ={}).immich.headers == {"X-Door": tmp_path / "door"}
    by_variable = {"AUTOTAGGER_CONFIG": "/dev/null", "AUTOTAGGER_IMMICH_HEADERS": '{"X-Door": "/run/door"}'}
    assert load_settings(environ=by_variable).immich.headers == {"X-Door": Path("/run/door")}
