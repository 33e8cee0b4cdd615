"""Messages to systemd, over a real socket."""

import os
import resource
from pathlib import Path

import pytest

from autotagger.service.notify import Notifier
from tests.service.support import NotifySocket


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_message_arrives_whole(kind: str, tmp_path: Path) -> None:
    address = tmp_path / "notify" if kind == "path" else Path(f"@autotagger-test-{os.getpid()}")
    with NotifySocket(address) as systemd:
        Notifier(systemd.address).send(READY=1, STATUS="two\nlines")
        assert systemd.read() == ["READY=1", "STATUS=two lines"]


def test_the_environment_is_taken_away_from_the_children() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    notifier = Notifier.take_from(environ)
    assert notifier
    assert notifier.watchdog_s == 2.5
    assert environ == {"A": "b"}


@pytest.mark.parametrize("usec", ["", "0", "soon", "-1"])
def test_no_watchdog_is_none(usec: str) -> None:
    assert Notifier.take_from({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": usec}).watchdog_s is None


def test_a_watchdog_meant_for_another_process_is_not_ours() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert Notifier.take_from(environ).watchdog_s is None


def test_without_systemd_nothing_happens() -> None:
    nobody = Notifier.take_from({})
    assert not nobody
    nobody.send(READY=1)


def test_a_socket_that_is_gone_or_full_is_not_in_the_way(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "never")).send(READY=1)
    with NotifySocket(tmp_path / "full") as systemd:
        notifier = Notifier(systemd.address)
        for _ in range(5_000):  # nobody reads: the kernel's queue is long full
            notifier.send(WATCHDOG=1)
        assert 0 < systemd.read().count("WATCHDOG=1") < 5_000


def test_a_process_without_descriptors_goes_on_without_telling(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with NotifySocket(tmp_path / "notify") as systemd:
        notifier = Notifier(systemd.address)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            notifier.send(READY=1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        notifier.send(WATCHDOG=1)
        assert systemd.read() == ["WATCHDOG=1"]
