"""Every command in a folder whose files have the names of all modules and programs: none is run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from tests.support.daemon import RunningDaemon

LLMD = str(Path(sys.executable).parent / "llmd")
MODULES = {*sys.stdlib_module_names, *metadata.packages_distributions(), "sitecustomize"}
PROGRAMS = (
    "cmake", "emacs", "git", "glslc", "hipcc", "hx", "kate", "llmd", "ninja", "nvcc", "nvidia-smi",
    "nvim", "ollama", "pip", "python", "python3", "sh", "sysctl", "uv", "vim", "vm_stat", "zed",
    "zeditor",
)  # fmt: skip
COMMANDS = (  # in this order; at the last there is no model any more, and no index for pip
    "start", "status", "complete code.py:2:12", "why", "config", "models", "path socket", "logs",
    "doctor", "pull builtin", "pull ./own.gguf", "use builtin", "restart", "restart --daemon",
    "bench trace.json --limit 3", "bench model --depth 0 --batch 1 --repeat 1 --threads 1", "demo",
    "--version", "stop", "purge --yes", "pull builtin",
)  # fmt: skip


@pytest.fixture(scope="module")
def hostile(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A user whose current folder is a stranger's, and in whose PATH that folder comes first."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("hostile")
    builtin = next(models_dir.glob("smollm2*.gguf"))
    (home / "models").mkdir()
    (home / "models" / builtin.name).hardlink_to(builtin)
    (folder / "own.gguf").hardlink_to(builtin)
    (folder / "code.py").write_text("def add(a, b):\n    return a\n")
    trace = {"startContent": "", "endContent": "abc",
             "txns": [{"time": "2020-01-01T00:00:00Z", "patches": [[n, 0, c]]}
                      for n, c in enumerate("abc")]}  # fmt: skip
    (folder / "trace.json").write_text(json.dumps(trace))
    marker = folder / "marker"
    told = f"open({str(marker)!r}, 'a').write(__file__ + '\\n')\n"
    for name in MODULES - {"code"}:
        (folder / f"{name}.py").write_text(told)
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(told)
    for name in PROGRAMS:
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {name} >> {marker}\n")
        program.chmod(0o755)
        if not (folder / name).exists():
            (folder / name).hardlink_to(program)
    daemon = RunningDaemon(home / "models", home)
    daemon.env |= {"PIP_NO_INDEX": "1", "PATH": f":.:bin:{daemon.env['PATH']}", "HOME": str(home)}
    daemon.folder = folder
    yield daemon
    subprocess.run([LLMD, "stop"], env=daemon.env, capture_output=True, check=False)
    daemon.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=COMMANDS)
def test_nothing_of_the_current_folder_is_run(hostile: RunningDaemon, number: int) -> None:
    command, is_last = COMMANDS[number], number == len(COMMANDS) - 1
    done = subprocess.run(
        [LLMD, *command.split()],
        cwd=hostile.folder, env=hostile.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    marker = hostile.folder / "marker"
    assert not marker.exists(), (marker.read_text(), done.stderr)
    may_fail = is_last or command == "doctor"
    assert done.returncode in ((0, 1) if may_fail else (0,)), done.stderr
