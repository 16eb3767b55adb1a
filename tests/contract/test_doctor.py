"""`llmd doctor`, run beside real daemons, models and editors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import RunningDaemon, is_locked, wait_until
from tests.support.toy_mamba import write_mamba

BIN = Path(sys.executable).parent
PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "nvim"
PLANTED = "planted_text_4711"

Rows = list[dict[str, str]]


def doctor(daemon: RunningDaemon, **environment: str) -> tuple[int, Rows]:
    """Its exit code and findings, in a home that is the test's own."""
    home = daemon.folder / "home"
    home.mkdir(exist_ok=True)
    own = {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", **environment}
    env = {name: text for name, text in daemon.env.items()
           if name not in ("NVIM", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}  # fmt: skip
    done = subprocess.run(
        [str(BIN / "llmd"), "doctor", "--json"],
        env={**env, **own}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    rows: Rows = found["findings"]
    assert found["n_problems"] == sum(row["level"] == "problem" for row in rows)
    assert done.returncode == (1 if found["n_problems"] else 0)
    return done.returncode, rows


def of(rows: Rows, topic: str) -> Rows:
    return [row for row in rows if row["topic"] == topic]


def problems(rows: Rows) -> list[str]:
    return [row["text"] for row in rows if row["level"] == "problem"]


def test_all_is_well_beside_a_daemon(daemon: RunningDaemon) -> None:
    code, rows = doctor(daemon)
    assert (code, problems(rows)) == (0, [])
    said = " ".join(row["text"] for row in rows)
    assert "was built for" in said
    assert "The model infills in the format of smollm2-fim" in said
    assert "The model is loaded:" in said
    assert "is ready" in said
    assert all(row["fix"] for row in rows if row["level"] != "ok")


def test_without_model_and_daemon_it_names_the_fix_and_makes_nothing(alone: RunningDaemon) -> None:
    (alone.folder / "home").mkdir()
    before = sorted(alone.folder.rglob("*"))
    code, rows = doctor(alone)
    assert code == 1
    (model,) = [row for row in of(rows, "model") if row["level"] == "problem"]
    assert "llmd pull builtin" in model["fix"]
    assert "No daemon runs" in of(rows, "daemon")[0]["text"]
    assert sorted(alone.folder.rglob("*")) == before
    assert not is_locked(alone.folder / "state")


def test_the_text_has_what_the_json_has(daemon: RunningDaemon) -> None:
    text = daemon.llmd("doctor").stdout
    _, rows = doctor(daemon)
    assert all(row["text"] in text for row in of(rows, "llama.cpp") + of(rows, "model"))


def test_a_broken_config_is_a_problem_and_an_open_folder_a_note(alone: RunningDaemon) -> None:
    (alone.folder / "config.toml").write_text("[sampling]\ntemprature = 1\n")
    (alone.folder / "state").mkdir(mode=0o755)
    _, rows = doctor(alone)
    assert "temprature" in " ".join(problems(rows))
    (note,) = of(rows, "files")
    assert note["level"] == "note"
    assert "has mode 0755, expected 0700; the next daemon sets it" in note["text"]


def test_a_model_without_fim_and_one_that_is_damaged(alone: RunningDaemon) -> None:
    plain = write_mamba(alone.folder / "plain.gguf")
    (alone.folder / "config.toml").write_text(f'model = "{plain}"\n')
    _, rows = doctor(alone)
    (note,) = [row for row in of(rows, "model") if row["level"] == "note"]
    assert "has no FIM tokens" in note["text"]
    plain.write_bytes(plain.read_bytes()[:200])
    code, rows = doctor(alone)
    assert code == 1
    assert "is damaged" in problems(of(rows, "model"))[0]


def test_a_stopped_daemon_is_a_problem(own_daemon: RunningDaemon) -> None:
    pid = own_daemon.status()["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        _, rows = doctor(own_daemon)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "does not answer" in problems(of(rows, "daemon"))[0]


def test_a_linked_plugin_is_in_place(daemon: RunningDaemon, tmp_path: Path) -> None:
    if not shutil.which("vim"):
        pytest.skip("there is no vim on PATH")
    pack = tmp_path / ".vim/pack/llmd/start"
    pack.mkdir(parents=True)
    before = of(doctor(daemon, HOME=str(tmp_path))[1], "editors")
    (pack / "llmd").symlink_to(PLUGIN.with_name("vim"))
    after = of(doctor(daemon, HOME=str(tmp_path))[1], "editors")
    assert any("has no llmd" in row["text"] and "Vim 9" in row["text"] for row in before)
    assert any("Vim 9" in row["text"] and "has the plugin" in row["text"] for row in after)


@pytest.fixture
def neovim(daemon: RunningDaemon) -> Iterator[str]:
    """The address of a Neovim with the plugin and an unsaved buffer."""
    with tempfile.TemporaryDirectory(prefix="llmd-") as folder:
        address = f"{folder}/nvim"
        command = [str(BIN / "nvim"), "--headless", "--clean", "-n", "-i", "NONE"]
        command += ["--listen", address, "--cmd", f"set rtp^={PLUGIN}"]
        command += ["-c", f"call setline(1, '{PLANTED}')"]
        env = {**daemon.env, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": folder}
        running = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL)
        wait_until(lambda: Path(address).exists(), "Neovim listens")
        yield address
        running.kill()
        running.wait(10)


def remote(address: str, expression: str) -> str:
    command = [str(BIN / "nvim"), "--headless", "--server", address, "--remote-expr", expression]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return (done.stdout + done.stderr).strip()


def test_the_neovim_it_is_run_from_is_looked_into(daemon: RunningDaemon, neovim: str) -> None:
    state = "luaeval(\"(package.loaded['llmd.channel'] or {engine={state=''}}).engine.state\")"
    wait_until(lambda: remote(neovim, state) == "ready", "the plugin is connected")
    _, rows = doctor(daemon, NVIM=neovim)
    found = of(rows, "this Neovim")
    assert {row["level"] for row in found} == {"ok"}
    said = " ".join(row["text"] for row in found)
    assert "has loaded the plugin" in said
    assert "connection to the daemon: ready" in said
    assert "<Tab> accept" in said
    assert PLANTED not in json.dumps(rows)
    assert any("Connected: Neovim" in row["text"] for row in of(rows, "daemon"))

    remote(neovim, "execute('inoremap <Tab> x')")
    found = of(doctor(daemon, NVIM=neovim)[1], "this Neovim")
    (note,) = [row for row in found if row["level"] == "note"]
    assert "No key is mapped to `<Plug>(llmd-accept)`" in note["text"]


def test_a_neovim_that_is_not_there_is_a_note(daemon: RunningDaemon) -> None:
    _, rows = doctor(daemon, NVIM="/nowhere/nvim")
    (found,) = of(rows, "this Neovim")
    assert (found["level"], "cannot be inspected" in found["text"]) == ("note", True)


def test_a_neovim_that_waits_is_a_note_and_the_rest_is_told(
    daemon: RunningDaemon, neovim: str
) -> None:
    pid = int(remote(neovim, "getpid()"))
    os.kill(pid, signal.SIGSTOP)
    try:
        _, rows = doctor(daemon, NVIM=neovim)
    finally:
        os.kill(pid, signal.SIGCONT)
    (found,) = of(rows, "this Neovim")
    assert (found["level"], "no answer within" in found["text"]) == ("note", True)
    assert "`:terminal`" in found["fix"]
    assert of(rows, "daemon")
