"""What goes wrong on the way, over real sockets."""

import asyncio
import gzip
import ssl
import traceback
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from autotagger.errors import AssetFailed, AutotaggerError, BadConfig, Retryable, ServerRefused, Unreachable
from autotagger.immich.client import ImmichClient
from autotagger.settings import ImmichSettings
from tests.immich.support import ASSET, KEY, TAG, Clock, client_of, json, raw_server, serving

IMPATIENT: dict[str, Any] = {"read_timeout_s": 0.1, "connect_timeout_s": 0.1, "retry_budget_s": 0}


async def tags(request: web.Request) -> web.Response:
    return json([{"id": TAG, "value": "auto:processed"}], headers={"Set-Cookie": "immich_access_token=x; Path=/"})


def assert_hides_the_key(error: BaseException) -> None:
    """Not in the message, nor in a traceback that prints the variables of every frame of the whole chain."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = list(told.stack)
    chained = told.__cause__ or told.__context__
    while chained is not None:
        frames += chained.stack
        assert KEY not in str(chained)
        chained = chained.__cause__ or chained.__context__
    ours = [frame for frame in frames if "tests/immich" not in frame.filename]
    assert ours
    assert all(KEY not in value for frame in ours for value in (frame.locals or {}).values())
    assert KEY not in "".join(told.format()).replace(f"KEY = '{KEY}'", "")


async def test_one_connection_is_kept_and_no_cookie_comes_back() -> None:
    # aiohttp's own jar would keep cookies of names, though not those of addresses
    async with serving(tags) as server, client_of(server.url.replace("127.0.0.1", "localhost")) as client:
        for _ in range(3):
            await client.tags()
    assert all(request.headers["x-api-key"] == KEY for request in server.requests)
    assert all("Cookie" not in request.headers for request in server.requests)
    assert server.requests[0].transport is server.requests[2].transport


async def test_the_key_is_not_sent_where_it_is_not_needed() -> None:
    async def handler(request: web.Request) -> web.Response:
        return json({"res": "pong", "major": 3, "minor": 0, "patch": 3})

    async with serving(handler) as server, client_of(server.url) as client:
        await client.version()
        await client.ping()
    assert all("x-api-key" not in request.headers for request in server.requests)


async def test_a_redirect_to_another_origin_is_never_followed() -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        return json([])

    async with serving(elsewhere) as other:

        async def handler(request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(f"{other.url}/login?token=abc")

        async with serving(handler) as server, client_of(server.url) as client:
            with pytest.raises(ServerRefused, match="does not get the API key") as caught:
                await client.tags()
            assert other.url in str(caught.value)
            assert "token=abc" not in str(caught.value)
            with pytest.raises(ServerRefused):
                await client.tag_assets([ASSET], [TAG])
    assert other.requests == []


async def test_a_redirect_of_the_same_origin_is_followed_by_hand() -> None:
    async def handler(request: web.Request) -> web.Response:
        if not request.path.startswith("/immich/"):
            raise web.HTTPMovedPermanently(f"/immich{request.path_qs}")
        return await tags(request)

    async with serving(handler) as server, client_of(server.url) as client:
        assert len(await client.tags()) == 1
        with pytest.raises(ServerRefused, match="base_url"):  # a POST would arrive as a GET
            await client.search({"size": 1})
    assert [request.path for request in server.requests] == [
        "/api/tags",
        "/immich/api/tags",
        "/api/search/metadata",
    ]
    assert server.requests[1].headers["x-api-key"] == KEY


@pytest.mark.parametrize("location", ["/api/tags", "http://[", ""])
async def test_redirects_to_nowhere_end(location: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    async with serving(handler) as server, client_of(server.url) as client:
        with pytest.raises(ServerRefused, match=r"circles|valid"):
            await client.tags()
    assert len(server.requests) <= 4


async def test_half_a_body_is_no_answer() -> None:
    answers = [b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhalf"]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        whole = b"Content-Type: image/jpeg\r\nContent-Length: 5\r\n\r\nwhole"
        writer.write(b"HTTP/1.1 200 OK\r\n" + (answers.pop(0) if answers else whole))
        await writer.drain()

    clock = Clock()
    async with raw_server(handler) as url, client_of(url, clock) as client:
        assert (await client.picture(ASSET, "preview")).body == b"whole"
    assert len(clock.slept) == 2


async def test_a_reset_is_tried_again() -> None:
    resets = 2

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal resets
        await reader.readuntil(b"\r\n\r\n")
        if resets:
            resets -= 1
            writer.transport.abort()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
        await writer.drain()

    async with raw_server(handler) as url, client_of(url) as client:
        assert await client.tags() == []
    assert resets == 0


@pytest.mark.timeout(10)
@pytest.mark.parametrize("drip", [False, True])
async def test_silence_and_a_drip_of_bytes_both_end(drip: bool) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while drip and not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)
        await reader.read()

    async with raw_server(handler) as url, client_of(url, **IMPATIENT) as client:
        with pytest.raises(Unreachable, match="in time"):
            await client.tags()


async def test_nobody_there() -> None:
    async with raw_server(lambda reader, writer: asyncio.sleep(0)) as url:
        pass
    async with client_of(url, retry_budget_s=0) as client:
        with pytest.raises(Unreachable, match="connection refused") as caught:
            await client.tags()
        assert not await client.ping()
    assert_hides_the_key(caught.value)


@pytest.mark.parametrize("zipped", [False, True])
async def test_a_picture_is_counted_while_it_comes(zipped: bool) -> None:
    limit = 1 << 20
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
        if zipped:
            response.headers["Content-Encoding"] = "gzip"
        await response.prepare(request)
        chunk = gzip.compress(bytes(200 << 20), 6) if zipped else bytes(1 << 16)
        while sent < 64 << 20:
            await response.write(chunk)
            sent += len(chunk)
        return response

    async with serving(handler) as server, client_of(server.url, max_picture_bytes=limit) as client:
        with pytest.raises(AssetFailed, match=f"asset {ASSET}: its preview has more than 1 MB") as caught:
            await client.picture(ASSET, "preview")
    assert caught.value.kind == "too-large"
    assert sent < 32 << 20
    assert len(server.requests) == 1


async def test_no_exception_carries_the_key() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("tags"):
            return web.Response(body=b"\x00", headers={"Content-Encoding": "gzip"})
        return json({"message": "Invalid API key"}, status=401)

    async with serving(handler) as server, client_of(server.url, retry_budget_s=0) as client:
        assert KEY not in repr(client)
        for call in (client.tags(), client.search({}), client.asset(ASSET)):
            with pytest.raises(AutotaggerError) as caught:
                await call
            assert_hides_the_key(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "kéy", "…"])
def test_a_key_that_cannot_be_one_is_refused_unseen(key: str) -> None:
    with pytest.raises(BadConfig) as caught:
        ImmichClient(ImmichSettings(base_url="host"), SecretStr(key))
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_unusable_ca_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(BadConfig, match=r"ca\.pem"):
        ImmichClient(ImmichSettings(base_url="https://host", ca_file=path), SecretStr(KEY))


async def test_tls_is_verified_and_an_own_authority_can_be_named(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with serving(tags, context) as server:
        async with client_of(server.url, ca_file=tmp_path / "ca.pem") as client:
            assert len(await client.tags()) == 1
        async with client_of(server.url) as client:
            with pytest.raises(ServerRefused, match="ca_file") as caught:
                await client.tags()
            assert_hides_the_key(caught.value)
    assert len(server.requests) == 1
    async with serving(tags) as plain, client_of(plain.url.replace("http:", "https:"), retry_budget_s=0) as client:
        with pytest.raises(Retryable, match="http instead of https"):
            await client.tags()


async def test_a_client_certificate_is_shown_to_a_proxy_that_asks_for_one(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours = authority.issue_cert("autotagger@localhost")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    ours.private_key_pem.write_to_path(tmp_path / "key.pem")
    ours.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    async with serving(tags, context) as server:
        ways: list[dict[str, Any]] = [
            {"client_cert_file": tmp_path / "client.pem"},
            {"client_cert_file": tmp_path / "cert.pem", "client_key_file": tmp_path / "key.pem"},
        ]
        for given in ways:
            async with client_of(server.url, ca_file=tmp_path / "ca.pem", **given) as client:
                assert len(await client.tags()) == 1
        async with client_of(server.url, ca_file=tmp_path / "ca.pem", retry_budget_s=0) as client:
            with pytest.raises(Retryable):
                await client.tags()
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"client_cert_file": "missing.pem"}, "cannot use client_cert_file .*No such file"),
        ({"client_cert_file": "junk.pem"}, "no certificate with its private key"),
        ({"client_key_file": "junk.pem"}, "needs a client_cert_file"),
    ],
)
def test_an_unusable_client_certificate_is_named(given: dict[str, str], says: str, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    files = {key: tmp_path / name for key, name in given.items()}
    with pytest.raises(BadConfig, match=says):
        ImmichClient(ImmichSettings(base_url="https://host", **files), SecretStr(KEY))
