"""Tests how a client connects to a daemon whose queue of connections is full, on each system."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from llmd.bridge import daemon_client
from llmd.errors import DaemonError


class Queue(socket.socket):
    """Answers as a full queue for `n_full` times, as the system does."""

    code = errno.EAGAIN
    n_full = 0

    def connect_ex(self, address: object) -> int:
        type(self).n_full -= 1
        return self.code if self.n_full >= 0 else 0


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("LLMD_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("LLMD_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(daemon_client.socket, "socket", Queue)
    monkeypatch.setattr(daemon_client, "_RETRY_S", 0.001)
    monkeypatch.setattr(daemon_client, "peer_uid", lambda _: os.getuid())
    return str(tmp_path / "daemon.sock")


@pytest.mark.parametrize(
    ("platform", "code", "is_running", "connects"),
    [
        ("linux", errno.EAGAIN, True, True),
        ("linux", errno.ECONNREFUSED, True, False),
        ("darwin", errno.ECONNREFUSED, True, True),  # a full queue
        ("darwin", errno.ECONNREFUSED, False, False),  # a dead daemon's socket
        ("darwin", errno.ENOENT, True, False),
    ],
)
def test_a_full_queue_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, path: str, platform: str, code: int, is_running: bool,
    connects: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(daemon_client, "is_running", lambda: is_running)
    monkeypatch.setattr(Queue, "code", code)
    monkeypatch.setattr(Queue, "n_full", 3)
    peer = daemon_client.connect_to(path)
    assert (peer is not None) == connects
    if peer:
        peer.close()


def test_a_queue_that_stays_full_is_a_hung_daemon(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(daemon_client, "is_running", lambda: True)
    monkeypatch.setattr(daemon_client, "ANSWER_TIMEOUT_S", 0.01)
    monkeypatch.setattr(Queue, "code", errno.ECONNREFUSED)
    monkeypatch.setattr(Queue, "n_full", 10**6)
    with pytest.raises(DaemonError, match="does not answer"):
        daemon_client.connect_to(path)
