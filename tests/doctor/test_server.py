"""The look at Immich and its checks: against the stand-in in every dialect, and against servers in trouble."""

import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from autotagger.demo import StandIn, draw_library, faults, tiny_library
from autotagger.demo.faults import Call
from autotagger.doctor.check_result import CheckResult, Level
from autotagger.doctor.facts import ServerFacts
from autotagger.doctor.server import look_at_server
from autotagger.doctor.server_checks import CHECKS
from autotagger.immich.dialect import NEEDED, OPTIONAL
from autotagger.settings import Settings
from tests.demo.support import DIALECTS
from tests.doctor.support import facts_with, settings_of
from tests.immich.support import serving
from tests.pipeline.support import settings_for

EVERY = (*NEEDED, *OPTIONAL)


async def judged(settings: Settings) -> dict[str, CheckResult]:
    facts = facts_with(settings=settings, server=await look_at_server(settings))
    return {name: check(facts) for name, check in CHECKS.items()}


def levels(results: dict[str, CheckResult]) -> dict[Level, list[str]]:
    return {level: [name for name, result in results.items() if result.level is level] for level in Level}


def with_key(server: StandIn, tmp_path: Path, permissions: Sequence[str], **immich: Any) -> Settings:
    return settings_for(server, tmp_path, immich={"api_key": server.add_key(permissions), **immich})


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_nothing_is_wrong_with_a_good_server_and_nothing_is_changed(dialect: str, tmp_path: Path) -> None:
    async with StandIn(tiny_library(30), dialect) as server:
        before = server.links()
        results = await judged(with_key(server, tmp_path, EVERY))
        assert levels(results)[Level.PASS] == list(CHECKS)
        assert f"API dialect {dialect}" in results["server.version"].found
        assert results["library.size"].found.startswith("30 assets, 0 of them marked")
        assert results["library.previews"].found.startswith("image/jpeg, short side 32 px")
        assert server.links() == before
        assert not server.store.tags
        assert server.settled


@pytest.mark.parametrize("missing", EVERY)
async def test_every_missing_permission_is_named_with_its_fix(missing: str, tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:
        permissions = [name for name in EVERY if name != missing]
        results = await judged(with_key(server, tmp_path, permissions))
    if missing == "userPreference.read":
        assert results["server.tags_feature"].level is Level.SKIP
        return
    result = results[f"key.{missing}"]
    assert result.level is (Level.FAIL if missing in NEEDED else Level.WARN)
    assert result.exit_code == (4 if missing in NEEDED else 0)
    assert result.fix.endswith(f" and tick {missing}")
    others = [name for name in NEEDED if name != missing]
    assert all(results[f"key.{name}"].level is Level.PASS for name in others)


async def test_a_permission_that_is_held_and_does_not_work(tmp_path: Path) -> None:
    async def forbid(call: Call) -> web.StreamResponse | None:
        return faults.status(403, "no") if call.name == "upsert_tags" else None

    async with StandIn(tiny_library(3), faults=forbid) as server:
        results = await judged(with_key(server, tmp_path, EVERY))
    assert results["key.tag.create"].level is Level.WARN
    assert "403" in results["key.tag.create"].found
    assert levels(results)[Level.FAIL] == []


async def test_originals_need_the_permission_to_download(tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:
        settings = with_key(server, tmp_path, NEEDED, picture="original")
        assert (await judged(settings))["key.asset.download"].level is Level.FAIL


async def test_moving_pictures_by_rating_needs_the_permission_to_update(tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:
        settings = with_key(server, tmp_path, NEEDED)
        assert (await judged(settings))["key.asset.update"].level is Level.PASS
        moving = settings.policy.model_copy(update={"rating_action": {"explicit": "archive"}})
        result = (await judged(settings.model_copy(update={"policy": moving})))["key.asset.update"]
    assert (result.level, result.exit_code) == (Level.FAIL, 4)


async def test_a_wrong_key(tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:
        results = await judged(settings_for(server, tmp_path, immich={"api_key": "wrong"}))
    assert levels(results)[Level.FAIL] == ["key.accepted"]
    assert results["key.accepted"].exit_code == 4
    assert "create a new key" in results["key.accepted"].fix


async def test_a_dead_server(tmp_path: Path) -> None:
    settings = settings_of(
        state_dir=tmp_path, immich={"base_url": "127.0.0.1:9", "api_key": "k", "retry_budget_s": 0.0}
    )
    results = await judged(settings)
    assert levels(results)[Level.FAIL] == ["server.reach"]
    assert results["server.reach"].exit_code == 4
    assert "curl http://127.0.0.1:9/api/server/ping" in results["server.reach"].fix
    assert levels(results)[Level.PASS] == ["server.address", "key.private"]


@pytest.fixture
async def router() -> AsyncIterator[str]:
    """Something that answers every address with its login page."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>log in</html>", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    async with TestServer(app) as listening:
        yield f"127.0.0.1:{listening.port}"


async def test_a_web_page_instead_of_immich(router: str, tmp_path: Path) -> None:
    results = await judged(settings_of(state_dir=tmp_path, immich={"base_url": router, "api_key": "k"}))
    assert levels(results)[Level.FAIL] == ["server.reach"]
    assert "set base_url in [immich]" in results["server.reach"].fix


@pytest.mark.parametrize(
    "immich", [{"base_url": "ftp://nas", "api_key": "k"}, {"base_url": "nas:2283"}, {"api_key": "k"}]
)
async def test_settings_that_no_run_could_use(immich: dict[str, str], tmp_path: Path) -> None:
    results = await judged(settings_of(state_dir=tmp_path, immich=immich))
    assert levels(results)[Level.FAIL] == ["server.address"]
    assert results["server.address"].exit_code == 2
    assert "IMMICH_BASE_URL" in results["server.address"].fix


async def test_a_server_that_is_too_old(tmp_path: Path) -> None:
    async def old(call: Call) -> web.StreamResponse | None:
        return web.json_response({"major": 1, "minor": 120, "patch": 0}) if call.name == "version" else None

    async with StandIn(tiny_library(3), faults=old) as server:
        results = await judged(settings_for(server, tmp_path))
    assert levels(results)[Level.FAIL] == ["server.version"]
    assert results["server.version"].fix == "update Immich"


async def test_a_server_that_fails_behind_a_good_key(tmp_path: Path) -> None:
    async def broken(call: Call) -> web.StreamResponse | None:
        return faults.status(502) if call.name == "user" else None

    async with StandIn(tiny_library(3), faults=broken) as server:
        results = await judged(settings_for(server, tmp_path, immich={"retry_budget_s": 0.0}))
    assert results["server.first_calls"].level is Level.FAIL
    assert "502" in results["server.first_calls"].found


async def test_tags_that_the_user_has_switched_off(tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:
        server.world.tags_enabled = False
        result = (await judged(with_key(server, tmp_path, EVERY)))["server.tags_feature"]
    assert result.level is Level.WARN
    assert "Features > Tags" in result.fix


async def test_webp_previews_and_previews_that_are_not_there(tmp_path: Path) -> None:
    async with StandIn(tiny_library(3), webp_previews=True) as server:
        result = (await judged(settings_for(server, tmp_path)))["library.previews"]
        assert result.level is Level.WARN
        assert "JPEG" in result.fix
    async with StandIn(draw_library(60), preview_after=None) as server:
        result = (await judged(settings_for(server, tmp_path, select={"types": ["image"]})))["library.previews"]
        assert ("have none yet" in result.found) == ("Generate Thumbnails" in result.fix)


@pytest.mark.parametrize("permissions", [EVERY, NEEDED])
async def test_what_is_marked_is_counted_with_and_without_the_permission(
    permissions: Sequence[str], tmp_path: Path
) -> None:
    async with StandIn(tiny_library(40)) as server:
        marker = server.store.upsert(["auto:processed"])[0]
        for row in list(server.store.rows.values())[:10]:
            server.store.link(row, [marker.id])
        result = (await judged(with_key(server, tmp_path, permissions)))["library.size"]
    assert result.found == "40 assets, 10 of them marked auto:processed (25%)"


async def test_an_empty_library_is_pointed_out(tmp_path: Path) -> None:
    async with StandIn(tiny_library(0)) as server:
        results = await judged(settings_for(server, tmp_path))
    assert results["library.size"].level is Level.WARN
    assert results["library.previews"].level is Level.SKIP


def test_clocks_latency_and_exposure_are_judged_by_their_size() -> None:
    def level(name: str, **facts: Any) -> Level:
        return CHECKS[name](facts_with(server=ServerFacts(address="http://8.8.8.8/api", **facts))).level

    assert level("server.clock", skew_s=-3.0) is Level.PASS
    assert level("server.clock", skew_s=90.0) is Level.WARN
    assert level("server.clock") is Level.SKIP
    assert level("server.latency", latency_s=0.02) is Level.PASS
    assert level("server.latency", latency_s=2.0) is Level.WARN
    assert level("server.tls", exposed=True) is Level.WARN
    assert level("server.tls") is Level.PASS


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """One that no authority of this machine has signed; `ca.pem` in tmp_path is its own."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=nas", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "ca.pem"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("openssl makes no certificate here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    return context


async def test_a_certificate_of_an_own_authority_wants_ca_file(
    certificate: ssl.SSLContext, tmp_path: Path
) -> None:
    async def immich(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/server/version":
            return web.json_response({"major": 3, "minor": 0, "patch": 3})
        return web.json_response({"message": "Invalid API key"}, status=401)

    async with serving(immich, certificate) as served:
        settings = {"base_url": served.url, "api_key": "k"}
        untrusted = await judged(settings_of(state_dir=tmp_path, immich=settings))
        assert levels(untrusted)[Level.FAIL] == ["server.reach"]
        assert untrusted["server.reach"].fix.startswith("set ca_file in [immich]")
        settings["ca_file"] = str(tmp_path / "ca.pem")
        trusted = await judged(settings_of(state_dir=tmp_path, immich=settings))
    assert trusted["server.tls"].found == "https, certificate trusted"
    assert levels(trusted)[Level.FAIL] == ["key.accepted"]
