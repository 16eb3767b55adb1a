"""The commands around the daemon: why, logs, path, purge, help, and an installed wheel."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from tests.support.daemon import RunningDaemon, wait_until
from tests.support.editor import Editor

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "serve", "start", "stop", "restart", "status", "why", "logs", "complete", "pull", "models",
    "use", "config", "path", "doctor", "purge", "lsp", "demo",
)  # fmt: skip
CODE = "def area(radius):\n    return 3.14 * \n"
PLANTED = "planted_text_4711"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_screen(alone: RunningDaemon, command: str) -> None:
    done = alone.llmd(*command.split(), "--help")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    if not command:
        assert {line.split()[0] for line in lines if line[:4] == "    "} >= set(COMMANDS)


def test_why_shows_every_stage(own_daemon: RunningDaemon, tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(CODE)
    assert own_daemon.llmd("why").stderr == "llmd: No completion was requested yet\n"
    own_daemon.llmd("complete", f"{sample}:2:19")
    text = own_daemon.llmd("why", str(sample)).stdout
    stages = {line.split()[0] for line in text.splitlines()}
    assert stages == {
        "file",
        "asked",
        "gate",
        "window",
        "plan",
        "decode",
        "confidence",
        "trim",
        "answer",
        "times",
    }
    found = json.loads(own_daemon.llmd("why", str(sample), "--json").stdout)
    assert (found["line"], found["col"], found["gate"]) == (2, 19, "")
    assert found["window"]["end_line"] == 3
    assert found["trace"]["n_prompt"] == found["trace"]["n_cached"] + found["trace"]["n_prefill"]
    assert found["n_chars_shown"] <= found["n_chars_generated"]


def test_why_names_the_gate(daemon: RunningDaemon, tmp_path: Path) -> None:
    secret = tmp_path / ".env"
    secret.write_text("KEY=1\n")
    assert "No completion: secret" in daemon.llmd("complete", f"{secret}:1:1").stderr
    text = daemon.llmd("why", str(secret)).stdout
    assert re.search(r"^gate +refused: secret$", text, re.M)
    assert "plan" not in text
    other = daemon.llmd("why", str(tmp_path / "other.py"))
    assert (other.returncode, other.stdout) == (2, "")


def test_the_log_is_private_and_holds_no_text_of_a_buffer(own_daemon: RunningDaemon) -> None:
    """Through every door: a completion, malformed messages, a crash, a question."""
    own_daemon.llmd("restart", "--daemon")
    editor = Editor(own_daemon)
    editor.open(f"{PLANTED} = 1\n{PLANTED} = ", uri="file:///t/planted.py")
    editor.inline(1, len(PLANTED) + 3, uri="file:///t/planted.py")
    editor.send("textDocument/didChange", nonsense=PLANTED)
    editor.send("textDocument/didOpen", textDocument={"uri": 5, "text": PLANTED})
    editor.ask("llmd/complete", text=PLANTED)
    editor.ask(PLANTED)
    own_daemon.llmd("restart")
    editor.inline(1, 4, uri="file:///t/planted.py")
    editor.close()
    peer = own_daemon.control()
    peer._peer.sendall(b"Content-Length: " + PLANTED.encode() + b"\r\n\r\n")
    assert peer._peer.recv(1 << 16) == b""
    log = own_daemon.folder / "state" / "llmd.log"
    wait_until(lambda: "Content-Length is not a number" in log.read_text(), "the fault is logged")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    for path in own_daemon.folder.rglob("*"):
        assert not path.is_file() or PLANTED.encode() not in path.read_bytes()
    assert "serves" in own_daemon.llmd("logs").stdout


def test_logs_follow(own_daemon: RunningDaemon) -> None:
    llmd = str(Path(sys.executable).parent / "llmd")
    with subprocess.Popen(
        [llmd, "logs", "-f"], env=own_daemon.env, stdout=subprocess.PIPE, text=True
    ) as follower:
        assert follower.stdout
        while "serves" not in follower.stdout.readline():
            pass
        peer = own_daemon.control()
        peer._peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while "first byte 0x47" not in follower.stdout.readline():
            pass
        follower.terminate()


def test_path_prints_the_places(alone: RunningDaemon) -> None:
    found = {what: alone.llmd("path", what).stdout.strip() for what in ("socket", "config", "log")}
    assert found == {
        "socket": str(alone.socket_path),
        "config": str(alone.folder / "config.toml"),
        "log": str(alone.folder / "state" / "llmd.log"),
    }


def test_path_prints_the_plugins_of_the_checkout(alone: RunningDaemon) -> None:
    for editor in ("nvim", "vim"):
        found = alone.llmd("path", f"plugin-{editor}").stdout.strip()
        assert found == str(ROOT / "plugins" / editor)


def test_purge_shows_and_removes_all(own_daemon: RunningDaemon, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("outcomes.json", "outcomes.json.broken"):
        (tmp_path / "state" / name).touch()
    (tmp_path / "state" / "mine.txt").touch()  # a folder that a variable names may hold anything
    (models / "smollm2-135m-fim-3-Q8_0.gguf").write_bytes(b"x" * (3 << 20))
    own_daemon.env["LLMD_MODELS_DIR"] = str(models)
    asked = subprocess.run(
        [str(Path(sys.executable).parent / "llmd"), "purge"],
        env=own_daemon.env, input="n\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 1
    assert f"     3.0 MiB  {models}/smollm2-135m-fim-3-Q8_0.gguf" in asked.stdout
    assert asked.stdout.rstrip().endswith("Nothing was removed")
    assert own_daemon.status()["state"] == "ready"
    assert own_daemon.llmd("purge", "--yes").returncode == 0
    left = [models, tmp_path / "config.toml", own_daemon.socket_path]
    assert not any(path.exists() for path in left)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["mine.txt"]
    assert own_daemon.llmd("purge").stdout == "There are no files of llmd on this machine\n"


def test_a_wheel_has_all_that_is_needed_outside_the_checkout(
    daemon: RunningDaemon, tmp_path: Path
) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*build, "-w", str(tmp_path), str(ROOT)], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("llmd-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "llmd/models/pull/smollm2-135m-fim-lora-f16.gguf" in names
    assert not [name for name in names if name.startswith("tests")]
    for editor in ("nvim", "vim"):
        own = [path for path in (ROOT / "plugins" / editor).rglob("*") if path.is_file()]
        kept = {f"llmd/_plugins/{path.relative_to(ROOT / 'plugins')}" for path in own}
        assert kept
        assert kept <= set(names)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    packages = sysconfig.get_path("purelib")
    # The checkout's own entry in sys.path is taken away: only the wheel has an `llmd` then.
    code = (
        f"import sys; sys.path = [p for p in sys.path if not p.startswith({str(ROOT)!r})"
        f" or p == {packages!r}]; import llmd; print(llmd.__file__);"
        " from llmd.cli.main import main; main(['path', 'plugin-nvim']);"
        " main(['path', 'plugin-vim']);"
        " sys.exit(main(['status']))"
    )
    env = {**daemon.env, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        cwd=os.sep,
        capture_output=True,
        text=True,
        check=True,
    )
    package = tmp_path / "site" / "llmd"
    module, *folders = done.stdout.splitlines()[:3]
    assert module == str(package / "__init__.py")
    assert folders == [str(package / "_plugins" / editor) for editor in ("nvim", "vim")]
    assert "SmolLM2-135M-FIM" in done.stdout
