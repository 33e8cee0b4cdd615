"""The port: a real socket, the client that the command uses, Prometheus' own parser."""

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from autotagger.cli import app
from autotagger.errors import BadConfig, StartupFailed
from autotagger.ledger.states import State
from autotagger.pipeline.ipc.stats import BOUNDS_MS, Tally, exchanged, timed
from autotagger.service import doorkeeper
from autotagger.service.ask import ask
from autotagger.service.http import answered
from autotagger.service.metrics import resident_bytes
from autotagger.service.notify import Notifier
from autotagger.service.observer import Observer
from autotagger.settings import ServiceSettings
from tests.service.support import HOST, get, process, run_status, summary


def observer() -> Observer:
    made = Observer(Notifier(), 300.0)
    made.reachable = True
    return made


async def asked(port: int, host: str = HOST) -> dict[str, Any]:
    return await asyncio.to_thread(ask, ServiceSettings(listen_host=host, listen_port=port))


@pytest.mark.parametrize(
    ("at", "live", "ready"),
    [
        ("start", 200, 503),
        ("work", 200, 200),
        ("outage", 200, 503),
        ("hang", 503, 503),
        ("stop", 200, 503),
    ],
)
async def test_health_says_in_its_status_whether_it_lives_and_is_ready(at: str, live: int, ready: int) -> None:
    watched = observer()
    if at != "start":
        hanging = process("writer", silent_s=60.0)
        watched.observe(run_status(hanging) if at == "hang" else run_status(stopping=at == "stop"))
    watched.reachable = at != "outage"
    async with answered(watched, HOST, 0) as port:
        assert (await get(port, "/health/live"))[0] == live
        assert (await get(port, "/health/ready"))[0] == ready
        status, body = await get(port, "/health")
        assert status == max(live, ready)
        assert await asked(port) == body
        assert (body["live"], body["ready"]) == (live == 200, ready == 200)
        assert bool(body["reasons"]) == (status != 200)


async def test_tags_that_were_lost_in_immich_are_a_warning_and_no_reason_to_restart() -> None:
    watched = observer()
    lost = replace(summary(states={State.VERIFIED: 6}), unmarked=6)
    watched.observe(run_status(summary=lost))
    async with answered(watched, HOST, 0) as port:
        status, body = await get(port, "/health")
        assert (status, body["ready"], body["reasons"]) == (200, True, [])
        assert "verify --repair" in body["warnings"][0]
        assert await asked(port) == body
        assert "autotagger_assets_unmarked 6.0" in (await get(port, "/metrics"))[1]
    watched.observe(run_status(summary=replace(lost, unmarked=1, states={**lost.states, State.VERIFIED: 12})))
    assert watched.health.warnings == (), "one is a person's removal"


async def test_whoever_listens_everywhere_is_asked_on_loopback() -> None:
    async with answered(observer(), "0.0.0.0", 0) as port:
        assert (await asked(port, "0.0.0.0"))["live"]


@asynccontextmanager
async def somebody_else(body: bytes) -> AsyncIterator[int]:
    """The port of a server that answers one request, with this."""
    with socket.create_server((HOST, 0)) as other:

        def answer() -> None:
            end, _ = other.accept()
            with end, suppress(ConnectionError):  # of a body that is not read to its end
                end.recv(4096)
                end.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)

        answering = asyncio.create_task(asyncio.to_thread(answer))
        yield other.getsockname()[1]
        await answering


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"[]",
        b"null",
        b'{"live": 1, "ready": 1}',
        b"[" * 60_000,
        b'"\xff"',
        b" " * 10_000_000 + b"{}",
    ],
    ids=["page", "nothing", "list", "null", "no-reasons", "brackets", "no-utf-8", "large"],
)
async def test_somebody_else_on_the_port_is_told_apart(body: bytes) -> None:
    async with somebody_else(body) as port:
        found = await asked(port)
    assert (found["live"], found["ready"]) == (False, False)
    assert "another program answers at" in found["reasons"][0]


async def test_what_is_wrong_is_shown_without_what_a_terminal_would_obey(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with somebody_else(b'{"live": true, "ready": false, "reasons": ["\\u001b[2J", 5]}') as port:
        monkeypatch.setenv("AUTOTAGGER_CONFIG", os.devnull)
        monkeypatch.setenv("AUTOTAGGER_SERVICE_LISTEN_PORT", str(port))
        with pytest.raises(SystemExit):
            await asyncio.to_thread(app, ["health"])
    assert capsys.readouterr().out == "live, not ready: \\x1b[2J; 5\n"


async def test_a_port_that_is_taken_and_one_where_nobody_listens() -> None:
    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(StartupFailed, match=f"port {taken} .*set \\[service\\] listen_port"):
            await answered(observer(), HOST, taken).__aenter__()
    found = await asked(taken)
    assert (found["live"], found["ready"]) == (False, False)
    assert "Connection refused" in found["reasons"][0]
    with pytest.raises(BadConfig, match="listen_port is 0"):
        await asked(0)


async def test_metrics_are_what_was_counted() -> None:
    counts = Counter({"inferred": 7, "tags": 90, "preview_downloads": 8, "something_new": 3})
    for milliseconds in (3, 60, 70, 99_000):
        counts += timed("inference", milliseconds / 1_000)
    counts += exchanged("search", "ok", 0.2) + exchanged("search", "failed", 0.01)
    watched = observer()
    made = summary(states={State.PENDING: 5, State.FAILED: 2}, **counts)
    watched.observe(run_status(process("writer", pid=os.getpid()), summary=made, free_slots=30))
    async with answered(watched, HOST, 0) as port:
        status, text = await get(port, "/metrics")
        assert (await get(port, "/metrics"))[0] == status == 200  # a scrape changes nothing
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["autotagger_pictures_scored_total",] == 7
    assert found["autotagger_tags_assigned_total",] == 90
    assert found["autotagger_restarts_total",] == 0
    assert found["autotagger_assets", ("state", "pending")] == 5
    assert found["autotagger_downloads_total", ("size", "preview")] == 8
    assert found["autotagger_events_total", ("event", "something_new")] == 3
    assert found["autotagger_slots", ("state", "used")] == 2
    assert found["autotagger_immich_calls_total", ("call", "search"), ("outcome", "failed")] == 1
    assert found["autotagger_immich_call_seconds_count", ("call", "search")] == 2
    assert found["autotagger_inference_seconds_bucket", ("le", "0.005")] == 1
    assert found["autotagger_inference_seconds_bucket", ("le", "0.1")] == 3
    assert found["autotagger_inference_seconds_bucket", ("le", "30.0")] == 3
    assert found["autotagger_inference_seconds_bucket", ("le", "+Inf")] == 4
    assert found["autotagger_inference_seconds_sum",] == pytest.approx(99.133)
    assert found["autotagger_process_resident_bytes", ("process", "writer")] > 1 << 20
    assert ("autotagger_model_info", ("device", "CPU"), ("identity", "0123456789ab"), ("name", "palette")) in found


async def test_status_is_the_run_in_numbers() -> None:
    watched = observer()
    async with answered(watched, HOST, 0) as port:
        assert "run" not in (await get(port, "/status"))[1]
        watched.observe(run_status(summary=summary(states={State.PENDING: 5}, tagged=3)))
        status, body = await get(port, "/status")
    assert status == 200
    assert (body["run"]["pending"], body["run"]["tagged"], body["run"]["seconds_left"]) == (5, 3, None)
    assert [one["name"] for one in body["processes"]] == ["writer", "fetcher", "inferencer 1"]
    assert body["processes"][0]["resident_bytes"] == 0  # there is no process 4000000
    assert body["slots"] == {"free": 32, "used": 0}


def test_a_process_that_is_gone_uses_no_memory() -> None:
    assert resident_bytes(os.getpid()) > 1 << 20
    assert resident_bytes(4_194_305) == 0  # above the kernel's largest process number


def test_what_threads_tally_is_taken_once() -> None:
    tally = Tally()
    tally.add(timed("decode", BOUNDS_MS[0] / 1_000))
    tally.add(timed("decode", BOUNDS_MS[0] / 1_000))
    assert tally.take() == {"ms/decode": 2 * BOUNDS_MS[0], f"le/decode/{BOUNDS_MS[0]}": 2}
    assert tally.take() == {}


# -- who may ask -------------------------------------------------------------------------------------------------


async def raw(port: int, request: bytes) -> bytes:
    """The whole answer to these bytes, up to the end of the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request)
    async with asyncio.timeout(20):
        with suppress(ConnectionError):
            answer = await reader.read()
            writer.close()
            return answer
    return b""


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8788", 200),
        ("192.168.1.7", 200),
        ("[::1]:8788", 200),
        ("localhost:8788", 200),
        ("autotagger:8788", 200),  # a container's name
        ("nas.local", 200),
        ("tagger.monitoring.svc.cluster.local:8788", 200),
        ("Tagger.Example.Org.", 200),
        ("evil.example.com:8788", 403),
        ("127.0.0.1.evil.example.com", 403),
        ("tagger.example.org.evil.com", 403),
        ("", 403),
        ("a b", 403),
        ("localhost@evil.example.com", 403),
        ("evil.example.com\r\nHost: localhost", 403),
    ],
)
@pytest.mark.parametrize("listens", [HOST, "0.0.0.0"])
async def test_only_a_name_that_no_stranger_can_own_is_answered(host: str, status: int, listens: str) -> None:
    watched = observer()
    watched.observe(run_status())
    async with answered(watched, listens, 0, ("tagger.example.org",)) as port:
        for path in ("/health", "/metrics", "/status"):
            answer = await raw(port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            refused = answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400", b"HTTP/1.0 400"))
            assert (answer.startswith(b"HTTP/1.1 200"), refused) == (status == 200, status != 200), answer
            assert status == 200 or b"palette" not in answer


async def test_a_request_without_a_name_or_by_another_method_or_path() -> None:
    async with answered(observer(), HOST, 0) as port:
        assert b" 503 " in await raw(port, b"GET /health HTTP/1.0\r\n\r\n")
        assert b" 405 " in await raw(port, b"POST /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 404 " in await raw(port, b"GET /etc HTTP/1.1\r\nHost: localhost\r\n\r\n")


@pytest.mark.parametrize("begun", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "])
async def test_who_does_not_end_his_request_is_cut_off(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorkeeper, "DEADLINE_S", 0.2)
    async with answered(observer(), HOST, 0) as port:
        began = time.monotonic()
        assert await raw(port, begun) == b""
        assert time.monotonic() - began < 10


async def test_whoever_holds_all_connections_keeps_no_health_check_out() -> None:
    async with answered(observer(), HOST, 0) as port:
        held = [await asyncio.open_connection(HOST, port) for _ in range(doorkeeper.MAX_CONNECTIONS + 8)]
        assert (await asked(port))["live"]
        async with asyncio.timeout(10):
            for reader, _ in held[:9]:
                with suppress(ConnectionError):
                    assert await reader.read() == b""
        held[-1][1].write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 503 " in await held[-1][0].readline(), "the newest ones are still answered"
        for _, writer in held:
            writer.close()
