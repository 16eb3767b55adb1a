"""Starts, ends and deaths of real processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
from tests.support.daemon import RunningDaemon, wait_until
from tests.support.editor import Editor

CODE = "import os\n\n\ndef walk(path):\n    "


def test_a_killed_worker_costs_one_answer(own_daemon: RunningDaemon) -> None:
    editor = Editor(own_daemon)
    editor.open(CODE)
    editor.inline(4, 4)
    worker_pid = own_daemon.status()["worker_pid"]
    os.kill(worker_pid, signal.SIGSTOP)  # so that the request is surely in flight
    editor.insert(4, 4, "for")
    id_ = editor.ask_inline(4, 7)
    wait_until(lambda: own_daemon.status()["state"] == "ready", "the daemon answers meanwhile")
    os.kill(worker_pid, signal.SIGKILL)
    assert editor.answer(id_)["result"] is None
    wait_until(lambda: own_daemon.status()["worker_pid"] not in (None, worker_pid), "a new worker")
    assert editor.inline(4, 7)
    assert len(editor.replies[id_]) == 1
    editor.close()


def test_sigterm_in_prefill_ends_all_and_removes_the_socket(own_daemon: RunningDaemon) -> None:
    editor = Editor(own_daemon)
    editor.open("x = 1\n" * 600 + "y = ")
    editor.ask_inline(600, 4)
    worker_pid = own_daemon.status()["worker_pid"]
    assert own_daemon.process
    own_daemon.process.send_signal(signal.SIGTERM)
    assert own_daemon.process.wait(3) == 0
    assert not own_daemon.socket_path.exists()
    wait_until(lambda: not psutil.pid_exists(worker_pid), "the worker is gone")
    assert editor.process.poll() is None  # the bridge waits for the next daemon
    editor.process.kill()


def test_a_killed_daemon_leaves_no_worker_and_the_next_one_starts(
    own_daemon: RunningDaemon,
) -> None:
    worker_pid = own_daemon.status()["worker_pid"]
    assert own_daemon.process
    own_daemon.process.kill()
    own_daemon.process.wait()
    wait_until(lambda: not _runs(worker_pid), "the worker died with its daemon")
    with own_daemon:
        assert own_daemon.complete("def add(a, b):\n    return $0\n")["text"]


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_starts_at_once_leave_one_daemon(own_daemon: RunningDaemon) -> None:
    assert own_daemon.llmd("stop").returncode == 0
    llmd = str(Path(sys.executable).parent / "llmd")
    starts = [
        subprocess.Popen([llmd, "start"], env=own_daemon.env, stderr=subprocess.DEVNULL)
        for _ in range(20)
    ]
    assert [start.wait(60) for start in starts] == [0] * 20
    mark = own_daemon.env["LLMD_RUNTIME_DIR"]
    served = wait_until(lambda: _serving(mark) == 1 and own_daemon.status()["pid"], "one is left")
    assert own_daemon.llmd("stop").returncode == 0
    wait_until(lambda: not _runs(served), "it has stopped")


def _serving(mark: str) -> int:
    n_serving = 0
    for process in psutil.process_iter():
        try:
            here = process.environ().get("LLMD_RUNTIME_DIR") == mark
            n_serving += here and "serve" in process.cmdline()
        except psutil.Error:
            continue
    return n_serving


def test_only_this_user_reaches_the_socket(daemon: RunningDaemon) -> None:
    mode = stat.S_IMODE(daemon.socket_path.stat().st_mode)
    folder = stat.S_IMODE(daemon.socket_path.parent.stat().st_mode)
    assert (mode, folder) == (0o600, 0o700)


def test_a_second_serve_says_who_runs(daemon: RunningDaemon) -> None:
    second = daemon.llmd("serve")
    assert second.returncode == 1
    assert f'"pid": {daemon.status()["pid"]}' in second.stderr


def test_a_missing_model_is_said_and_answered(alone: RunningDaemon) -> None:
    assert alone.llmd("start").returncode == 0
    try:
        found = alone.status()
        assert (found["state"], found["reason"]) == (
            "failed",
            "Model `builtin` is not on this machine; run `llmd pull builtin`",
        )
        assert alone.complete("x = $0")["trace"]["path"] == "failed"
    finally:
        alone.llmd("stop")


def test_the_log_holds_no_buffer_text(own_daemon: RunningDaemon) -> None:
    editor = Editor(own_daemon)
    editor.open("planted_text_4711 = 1\nplanted_text_4711 = ")
    editor.inline(1, 20)
    editor.send("textDocument/didChange", nonsense="planted_text_4711")
    editor.close()
    assert "planted_text_4711" not in own_daemon.log_path.read_text()
