"""Starts llmd's own children, and finds programs, so that nothing of the current folder is run.

`python -m` would import from the current folder first, and an empty or relative entry of PATH would
find a program there: a repository must not run its own code because a user stands in it.
Standard library only, since every editor's bridge imports this module.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

# Children work here, where no user can put a file.
FOLDER = "/"
# Variables that name a path, which is absolute for a child in another folder.
_PATHS = ("LLMD_CONFIG", "LLMD_MODELS_DIR", "LLMD_STATE_DIR", "LLMD_RUNTIME_DIR")
_PACKAGE_FOLDER = Path(__file__).resolve().parents[1]


def module_command(module: str, *args: str) -> tuple[str, ...]:
    """Returns the command that runs one of our modules, or an installed one such as pip. It wants
    `child_env()` and `FOLDER`."""
    return (sys.executable, "-P", "-m", module, *args)


def child_env(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment of a child: of PYTHONPATH only the folder that this process has llmd
    from, and absolute paths."""
    env = dict(os.environ if environ is None else environ)
    folders = env.pop("PYTHONPATH", "").split(os.pathsep)
    if any(folder and Path(folder).resolve() == _PACKAGE_FOLDER for folder in folders):
        env["PYTHONPATH"] = str(_PACKAGE_FOLDER)
    env |= {name: os.path.abspath(env[name]) for name in _PATHS if env.get(name)}
    if env.get("LLMD_MODEL"):
        env["LLMD_MODEL"] = absolute_model(env["LLMD_MODEL"])
    return env


def absolute_model(name: str) -> str:
    """Returns the absolute path where a model is named by a path, else the name."""
    is_path = "/" in name or name.lower().endswith(".gguf")
    return os.path.abspath(name) if is_path and ":" not in name and name[0] != "~" else name


def find_program(name: str) -> str | None:
    """Returns the absolute path of a program on PATH, but for its empty and relative entries."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(filter(os.path.isabs, folders)))
