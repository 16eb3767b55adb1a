"""Tests whom a client believes: the socket's owner, its folder, and what a daemon may say to an
editor."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import RunningDaemon
from tests.support.editor import Editor

from llmd.bridge import daemon_client
from llmd.bridge.bridge import TO_EDITOR
from llmd.errors import DaemonError
from llmd.transport.framing import FrameSplitter, build_message, frame

LLMD = str(Path(sys.executable).parent / "llmd")
FOREIGN = (
    "workspace/applyEdit", "workspace/executeCommand", "window/showDocument",
    "client/registerCapability", "textDocument/publishDiagnostics", "llmd/unknown", "exit", "",
    "Window/showMessage",
)  # fmt: skip


@pytest.fixture
def listening(alone: RunningDaemon) -> Any:
    """A socket in the daemon's place."""
    alone.socket_path.parent.chmod(0o700)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(alone.socket_path))
        one.listen()
        one.settimeout(20)
        yield one


def test_a_socket_of_another_user_is_not_believed(
    alone: RunningDaemon, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    del listening
    monkeypatch.setattr(daemon_client, "peer_uid", lambda _: os.getuid() + 1)
    for variable in ("LLMD_RUNTIME_DIR", "LLMD_STATE_DIR"):
        monkeypatch.setenv(variable, alone.env[variable])
    for connect in (daemon_client.connect, daemon_client.ensure_daemon):
        with pytest.raises(DaemonError, match=r"is served by uid \d+, not by you"):
            connect()


def test_the_path_of_a_socket_is_told_of_a_private_folder_only(alone: RunningDaemon) -> None:
    folder = alone.folder / "run"
    alone.env["LLMD_RUNTIME_DIR"] = str(folder)
    assert alone.llmd("path", "socket").returncode == 0  # the daemon will make it
    folder.mkdir(mode=0o755)
    assert alone.llmd("path", "socket").returncode == 0
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    folder.symlink_to("/tmp")  # noqa: S108 - where the link leads is the point
    done = alone.llmd("path", "socket")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is a link or a file, expected a folder" in done.stderr
    if os.getuid() == 0:
        folder.unlink()
        folder.mkdir(mode=0o700)
        os.chown(folder, 4711, 4711)
        assert "belongs to uid 4711" in alone.llmd("path", "socket").stderr


def test_an_editor_gets_only_what_the_protocol_has(
    alone: RunningDaemon, listening: socket.socket
) -> None:
    pipe = subprocess.PIPE
    bridge = subprocess.Popen([LLMD, "lsp"], env=alone.env, stdin=pipe, stdout=pipe)
    assert bridge.stdin
    assert bridge.stdout
    first = build_message(id=1, method="initialize", params={"capabilities": {}})
    bridge.stdin.write(frame(first))
    bridge.stdin.flush()
    daemon, _ = listening.accept()
    methods = [*FOREIGN, *TO_EDITOR]
    for number, method in enumerate(methods):
        daemon.sendall(frame(build_message(method=method, params={"value": {}})))
        daemon.sendall(frame(build_message(id=100 + number, method=method, params={"value": {}})))
    daemon.sendall(frame(build_message(id=1, result={"capabilities": {}})))
    seen: list[str] = []
    splitter, is_done = FrameSplitter(), False
    while not is_done:
        for body in splitter.feed(os.read(bridge.stdout.fileno(), 1 << 16)):
            message = json.loads(body)
            is_done = is_done or "method" not in message
            seen += [message["method"]] if "method" in message else []
    daemon.close()
    bridge.kill()
    bridge.wait()
    assert sorted(set(seen)) == sorted(TO_EDITOR)


@pytest.mark.parametrize(("sends", "code"), [(("shutdown", "exit"), 0), (("exit",), 1)])
def test_the_bridge_s_exit_code_is_lsp_s(
    daemon: RunningDaemon, sends: tuple[str, ...], code: int
) -> None:
    editor = Editor(daemon)
    for method in sends:
        if method == "shutdown":
            editor.call(method)
        else:
            editor.send(method)
    assert editor.process.wait(20) == code


@pytest.mark.skipif("sys.platform != 'linux'")
def test_no_memory_of_a_process_with_text_is_dumped(daemon: RunningDaemon) -> None:
    editor = Editor(daemon)
    status = daemon.status()
    for pid in (status["pid"], status["worker_pid"], editor.process.pid):
        limits = Path(f"/proc/{pid}/limits").read_text()
        (core,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
    editor.close()


@pytest.mark.skipif("sys.platform != 'linux'")
def test_a_protected_process_is_not_dumpable_and_knows_itself() -> None:
    """Its own files in /proc belong to root, as far as other processes see."""
    code = (
        "import ctypes; from llmd.processes import own_identity, protect_memory;"
        " before = own_identity(); protect_memory();"
        " print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), own_identity() == before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"]


@pytest.mark.skipif("sys.platform != 'linux' or os.getuid()")
def test_an_ordinary_user_s_daemon_works_protected(models_dir: Path) -> None:
    """Root reads everything; an ordinary user's daemon must not need what the protection takes."""
    with tempfile.TemporaryDirectory(prefix="llmd-") as name:
        folder = Path(name)
        builtin = next(models_dir.glob("smollm2*.gguf"))
        shutil.copy(builtin, folder / builtin.name)
        (folder / "code.py").write_text("def add(a, b):\n    return a\n")
        for path in (folder, *folder.iterdir()):
            os.chown(path, 65534, 65534)
        env = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
        env |= {"HOME": name, "LLMD_MODELS_DIR": name, "LLMD_RUNTIME_DIR": f"{name}/run",
                "LLMD_STATE_DIR": f"{name}/state"}  # fmt: skip

        def llmd(*args: str) -> str:
            done = subprocess.run(
                [LLMD, *args], env=env, cwd="/", user=65534, group=65534, extra_groups=[],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout

        try:
            llmd("--version")
        except (AssertionError, PermissionError):
            pytest.skip("this checkout or its Python is not readable by other users")
        assert llmd("complete", f"{folder}/code.py:2:12")
        status = json.loads(llmd("status", "--json"))
        assert status["state"] == "ready"
        assert status["memory"]["worker_bytes"] > 50 << 20
        llmd("stop")
