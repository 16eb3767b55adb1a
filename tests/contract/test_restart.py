"""Daemons and workers that come and go under connected editors."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.support.daemon import RunningDaemon, wait_until
from tests.support.editor import URI, Editor

from llmd.transport.framing import FrameSplitter, frame

CODE = "import os\n\n\ndef walk(path):\n    "
WORDS = ("x", "é", "€", "\n", "    ", "def f(a):\n", "# " + "long comment " * 600 + "\n")
LLMD = str(Path(sys.executable).parent / "llmd")


class Typist:
    """Edits at random places, and knows what the document must be."""

    def __init__(self, editor: Editor, seed: int) -> None:
        self.text = "import os\n"
        self.editor = editor
        self._random = random.Random(seed)
        editor.open(self.text)

    def edit(self) -> None:
        start = self._random.randrange(len(self.text) + 1)
        end = min(len(self.text), start + self._random.choice((0, 0, 0, 1, 7)))
        new = self._random.choice(WORDS)
        self.editor.replace(self._place(start), self._place(end), new)
        self.text = self.text[:start] + new + self.text[end:]

    def _place(self, offset: int) -> tuple[int, int]:
        before = self.text[:offset]
        return before.count("\n"), len(before) - before.rfind("\n") - 1


def held_text(editor: Editor) -> str:
    """The daemon's document, asked for through the bridge; null while there is no daemon."""
    found = wait_until(lambda: editor.call("llmd/snapshot", uri=URI), "the daemon has the document")
    return str(found["text"])


def end_daemon(daemon: RunningDaemon, how: str) -> None:
    """`kill`: the bridge itself starts the next one."""
    if how == "restart":
        assert daemon.llmd("restart", "--daemon").returncode == 0
        return
    pid = control_pid(daemon)
    os.kill(pid, signal.SIGKILL)
    if daemon.process and daemon.process.pid == pid:
        daemon.process.wait()  # else a zombie keeps its name


def control_pid(daemon: RunningDaemon) -> int:
    def found() -> int:
        try:
            return int(daemon.status()["pid"])
        except OSError:
            return 0

    return wait_until(found, "a daemon answers")


def test_typing_through_ten_daemon_restarts_loses_nothing(own_daemon: RunningDaemon) -> None:
    editor = Editor(own_daemon)
    typist = Typist(editor, seed=1)
    pids = {control_pid(own_daemon)}
    for how in ("restart", "restart", "kill", "restart", "restart") * 2:
        for _ in range(12):
            typist.edit()
        end_daemon(own_daemon, how)
        for _ in range(12):
            typist.edit()
        assert held_text(editor) == typist.text
        pids.add(control_pid(own_daemon))
    assert len(pids) == 11
    assert all(len(replies) == 1 for replies in editor.replies.values())
    assert [n["method"] for n in editor.notifications if "show" in n["method"]] == []
    editor.close()


def test_requests_in_flight_are_answered_null_when_the_daemon_dies(
    own_daemon: RunningDaemon,
) -> None:
    editor = Editor(own_daemon)
    editor.open(CODE)
    worker = psutil.Process(own_daemon.status()["worker_pid"])
    worker.suspend()  # so that the request is surely in flight
    id_ = editor.ask_inline(4, 4)
    assert editor.call("llmd/status")["state"] == "ready"  # it has been read
    assert own_daemon.process
    own_daemon.process.kill()
    own_daemon.process.wait()
    assert editor.answer(id_)["result"] is None
    wait_until(lambda: editor.inline(4, 4), "the next daemon completes")
    editor.close()


def test_restart_replaces_the_worker_under_an_editor(own_daemon: RunningDaemon) -> None:
    editor = Editor(own_daemon)
    editor.open(CODE)
    before = own_daemon.status()
    done = own_daemon.llmd("restart")
    assert (done.returncode, done.stdout) == (0, "SmolLM2-135M-FIM (Q8_0) is loaded\n")
    after = own_daemon.status()
    assert (after["pid"], after["worker_pid"] != before["worker_pid"]) == (before["pid"], True)
    assert editor.inline(4, 4)
    editor.close()


def test_a_stopped_daemon_stays_stopped_and_a_started_one_is_found(
    own_daemon: RunningDaemon,
) -> None:
    editor = Editor(own_daemon)
    editor.open(CODE)
    assert editor.inline(4, 4)
    assert own_daemon.llmd("stop").returncode == 0
    for _ in range(15):  # long enough for a daemon to start
        assert editor.inline(4, 4) == ""
        time.sleep(0.1)
    assert own_daemon.llmd("status").returncode == 1
    assert own_daemon.llmd("start").returncode == 0
    wait_until(lambda: editor.inline(4, 4), "the editor is served again")
    editor.close()


def test_a_daemon_that_got_sigterm_comes_back_with_the_next_key(own_daemon: RunningDaemon) -> None:
    editor = Editor(own_daemon)
    editor.open(CODE)
    assert editor.inline(4, 4)
    assert own_daemon.process
    own_daemon.process.terminate()
    assert own_daemon.process.wait(3) == 0
    assert not own_daemon.socket_path.exists()
    wait_until(lambda: editor.inline(4, 4), "the editor is served again")
    editor.close()


def test_five_editors_at_once_start_one_daemon(own_daemon: RunningDaemon) -> None:
    own_daemon.llmd("stop")
    editors = [Editor(own_daemon) for _ in range(5)]
    clients = wait_until(
        lambda: len(own_daemon.status()["clients"]) == 5 and own_daemon.status()["clients"],
        "one daemon has all five",
    )
    assert {client["name"] for client in clients} == {"test-editor"}
    for editor in editors:
        editor.close()


def test_a_shell_without_xdg_runtime_dir_finds_the_daemon(own_daemon: RunningDaemon) -> None:
    """Row 38 and design 6: the lock names the socket."""
    env = {**own_daemon.env, "LLMD_RUNTIME_DIR": str(own_daemon.folder / "elsewhere")}
    done = subprocess.run([LLMD, "status"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"pid {own_daemon.status()['pid']}" in done.stdout


def test_a_dead_daemons_socket_and_lock_are_in_nobodys_way(own_daemon: RunningDaemon) -> None:
    """Row 38: SIGKILL leaves both; the pid in the lock may belong to anybody by now."""
    assert own_daemon.process
    own_daemon.process.kill()
    own_daemon.process.wait()
    lock = own_daemon.folder / "state" / "daemon.lock"
    lock.write_text(f'{{"pid": {os.getpid()}, "socket": "{own_daemon.socket_path}"}}')
    assert own_daemon.socket_path.exists()
    assert own_daemon.llmd("start").returncode == 0
    assert own_daemon.status()["pid"] != os.getpid()


def test_a_stopped_process_is_told_and_not_robbed(own_daemon: RunningDaemon) -> None:
    """Row 40."""
    pid = own_daemon.status()["pid"]
    psutil.Process(pid).suspend()
    try:
        done = own_daemon.llmd("start")
        assert done.returncode == 1
        assert f'"pid": {pid}' in done.stderr
        assert "does not answer within 5 s; run `llmd stop`" in done.stderr
    finally:
        psutil.Process(pid).resume()
    assert own_daemon.status()["pid"] == pid


@pytest.mark.parametrize("what", ["socket", "folder"])
def test_a_socket_that_vanished_is_there_again(own_daemon: RunningDaemon, what: str) -> None:
    """As a logout or a cleaner removes it. Connections that are open stay."""
    pid, editor = own_daemon.status()["pid"], Editor(own_daemon)
    own_daemon.socket_path.unlink()
    if what == "folder":
        own_daemon.socket_path.parent.rmdir()
    wait_until(own_daemon.socket_path.exists, "a socket is there again")
    assert own_daemon.status()["pid"] == pid
    assert stat.S_IMODE(own_daemon.socket_path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(own_daemon.socket_path.stat().st_mode) == 0o600
    assert editor.call("llmd/status")["pid"] == pid
    editor.close()


def test_a_daemon_whose_socket_cannot_be_made_again_ends(own_daemon: RunningDaemon) -> None:
    own_daemon.socket_path.unlink()
    own_daemon.socket_path.parent.rmdir()
    own_daemon.socket_path.parent.write_text("in the way")
    assert own_daemon.process
    assert own_daemon.process.wait(30) == 0
    own_daemon.socket_path.parent.unlink()
    own_daemon.socket_path.parent.mkdir()


def test_stop_ends_a_daemon_that_does_not_answer(own_daemon: RunningDaemon) -> None:
    """And its editors' bridges do not bring it back."""
    editor = Editor(own_daemon)
    pid = own_daemon.status()["pid"]
    psutil.Process(pid).suspend()
    done = own_daemon.llmd("stop")
    assert (done.returncode, done.stderr) == (
        0,
        f"llmd: the daemon, pid {pid}, did not answer and was killed\n",
    )
    for _ in range(15):
        editor.call("llmd/status")
        time.sleep(0.1)
    assert own_daemon.llmd("status").returncode == 1
    editor.close()


@pytest.mark.parametrize(
    "change",
    [None, {"host": "elsewhere"}, {"boot": "b"}, {"pid_space": "-7"}, {"started": "1"}],
    ids=["an older llmd's lock", "host", "boot", "container", "start time"],
)
def test_stop_kills_no_process_that_is_not_certainly_the_daemon(
    own_daemon: RunningDaemon, change: dict[str, str] | None
) -> None:
    """The lock is held and its daemon is silent, but the pid in it is a stranger's here."""
    daemon = psutil.Process(own_daemon.status()["pid"])
    lock = own_daemon.folder / "state" / "daemon.lock"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        row = json.loads(lock.read_text()) | {"pid": stranger.pid}
        row = {"pid": row["pid"], "socket": row["socket"]} if change is None else row | change
        daemon.suspend()
        lock.write_text(json.dumps(row))
        try:
            done = own_daemon.llmd("stop")
        finally:
            daemon.resume()
        assert stranger.poll() is None
        stranger.kill()
    assert done.returncode == 1
    told = "No daemon is running" if change == {"pid_space": "-7"} else "stop it where it runs"
    assert told in done.stderr  # a container has a daemon of its own
    assert len(done.stderr.splitlines()) == 1


def test_a_daemon_that_takes_no_more_connections_is_told(own_daemon: RunningDaemon) -> None:
    pid = own_daemon.status()["pid"]
    psutil.Process(pid).suspend()
    waiting = []
    for _ in range(200):  # more than may wait to be accepted
        peer = socket.socket(socket.AF_UNIX)
        peer.setblocking(False)
        waiting.append(peer)
        if peer.connect_ex(str(own_daemon.socket_path)):
            break
    assert "does not answer within 5 s" in own_daemon.llmd("status").stderr
    assert "did not answer and was killed" in own_daemon.llmd("stop").stderr
    for peer in waiting:
        peer.close()


def test_a_bad_config_does_not_end_the_daemon_that_was_to_restart(
    own_daemon: RunningDaemon,
) -> None:
    pid = own_daemon.status()["pid"]
    own_daemon.edit_config("modell = 'x'\n")
    for args in (("restart",), ("restart", "--daemon")):
        done = own_daemon.llmd(*args)
        assert (done.returncode, done.stdout) == (2, "")
        assert "line 1: `modell` is not a known key; did you mean `model`?" in done.stderr
    assert own_daemon.status()["pid"] == pid
    assert own_daemon.complete("def add(a, b):\n    return $0\n")["text"]


def test_an_idle_worker_is_unloaded_and_loads_when_a_buffer_is_opened(
    models_dir: Path, tmp_path: Path
) -> None:
    with RunningDaemon(models_dir, tmp_path, "[engine]\nidle_unload_s = 1\n") as daemon:
        wait_until(lambda: daemon.status()["state"] == "unloaded", "it is unloaded")
        wait_until(lambda: daemon.status()["worker_pid"] is None, "its memory is free")
        editor = Editor(daemon)
        editor.open(CODE)  # no key was pressed
        wait_until(lambda: daemon.status()["state"] == "ready", "it loads again")
        wait_until(lambda: daemon.status()["state"] == "unloaded", "nobody typed")
        assert editor.inline(4, 4)
        editor.close()


def n_switches(pid: int) -> int:
    """How often the threads of a process have gone to sleep."""
    statuses = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status"))
    lines = (line for text in statuses for line in text.splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


@pytest.mark.skipif(sys.platform != "linux", reason="context switches are counted by the kernel")
def test_an_unused_daemon_sleeps(own_daemon: RunningDaemon) -> None:
    """In four seconds: the worker settles at most, and the daemon's watching thread looks a few
    times."""
    found = own_daemon.status()
    before = [n_switches(found[pid]) for pid in ("pid", "worker_pid")]
    time.sleep(4)
    after = [n_switches(found[pid]) for pid in ("pid", "worker_pid")]
    assert after[0] - before[0] <= 30
    assert after[1] - before[1] <= 3


def test_a_worker_that_dies_five_times_is_failed_until_restart(own_daemon: RunningDaemon) -> None:
    """Row 3."""
    editor = Editor(own_daemon)
    editor.open(CODE)
    for _ in range(5):
        found = wait_until(
            lambda: own_daemon.status()["state"] == "ready" and own_daemon.status(), "ready"
        )
        os.kill(found["worker_pid"], signal.SIGKILL)
        wait_until(
            lambda pid=found["worker_pid"]: own_daemon.status()["worker_pid"] != pid, "it died"
        )
    reason = (
        "The engine worker ended (SIGKILL, as the kernel does when memory runs out);"
        " it ended 5 times within 60 s, `llmd restart` tries again"
    )
    wait_until(lambda: own_daemon.status()["state"] == "failed", "it is given up")
    found = own_daemon.status()
    assert (found["reason"], found["worker_pid"]) == (reason, None)
    assert found["last_error"]["text"].startswith("The engine worker ended")
    assert editor.inline(4, 4) == ""
    said = [n["params"]["message"] for n in editor.notifications if "show" in n["method"]]
    assert said == [f"llmd: {reason}"]
    assert own_daemon.llmd("restart").returncode == 0
    assert editor.inline(4, 4)
    editor.close()


def test_another_version_gets_one_sentence(daemon: RunningDaemon) -> None:
    """Row 47: an editor's bridge that was started before the update."""
    code = "import llmd; llmd.__version__ = '0.0.1'; from llmd.cli.main import main"
    code += "; raise SystemExit(main(['lsp']))"
    old = subprocess.Popen(
        [sys.executable, "-c", code],
        env=daemon.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    initialize = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"capabilities": {}}}
    assert old.stdin
    old.stdin.write(frame(json.dumps(initialize).encode()))
    old.stdin.flush()
    assert old.wait(20) == 1
    said, on_stderr = old.communicate()
    sentence = (
        "llmd: This editor's llmd is version 0.0.1, the running daemon is 0.1.0; restart the"
        " language server in the editor, or, if the daemon is the older one, run"
        " `llmd restart --daemon`"
    )
    (reply, *_) = (json.loads(body) for body in FrameSplitter().feed(said))
    assert reply["error"]["message"] == sentence
    assert on_stderr.decode() == f"{sentence}\n"
