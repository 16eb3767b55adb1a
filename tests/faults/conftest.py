"""Fixtures of the fault tests only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import RunningDaemon, wait_until
from tests.support.editor import Editor
from tests.support.fault_worker import STARTS
from tests.support.rawlsp import CODE, CODE_END, RawLsp, assert_serves, new_uri

ROOT = Path(__file__).parents[2]


@pytest.fixture
def survives(request: pytest.FixtureRequest) -> Iterator[None]:
    """Afterwards the daemon answers a status and a completion, from the same worker, and has
    forgotten the connections."""
    name = "own_daemon" if "own_daemon" in request.fixturenames else "daemon"
    running: RunningDaemon = request.getfixturevalue(name)
    before = running.status()
    yield
    assert_serves(running, before["worker_pid"])
    wait_until(lambda: _left(running.status()) <= _left(before), "its connections are forgotten")


def _left(status: dict[str, Any]) -> int:
    return int(status["process"]["n_documents"]) + len(status["clients"])


@pytest.fixture
def client(daemon: RunningDaemon) -> Iterator[RawLsp]:
    with RawLsp(daemon) as raw:
        yield raw.initialize()


@pytest.fixture
def fault_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(STARTS, str(tmp_path / "starts"))


@pytest.fixture(scope="module")
def shared(daemon: RunningDaemon) -> Iterator[Editor]:
    one = Editor(daemon)
    yield one
    with suppress(Exception):
        one.close()


@pytest.fixture
def editor(shared: Editor, daemon: RunningDaemon) -> Iterator[Editor]:
    """One for all rows; after each a fresh document is still served, by the same worker."""
    pid = daemon.status()["worker_pid"]
    yield shared
    uri = new_uri()
    shared.open(CODE, uri)
    assert shared.inline(*CODE_END, uri)
    shared.send("textDocument/didClose", textDocument={"uri": uri})
    assert daemon.status()["worker_pid"] == pid
