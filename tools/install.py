"""Makes the one environment of this checkout, `.venv`, from the hashed lock files.

Standard library only. The native build of llama.cpp takes minutes, so its percentages are shown;
everything else that pip prints goes to `.venv/install.log`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
BUILD_STEP = re.compile(r"\[ *(\d+)(?:%|/(\d+))\]")
MIN_PYTHON = (3, 11)
NEWER_PYTHONS = ("python3.13", "python3.12", "python3.11")  # a Mac's python3 is 3.9
MIN_CMAKE = (3, 21)  # llama-cpp-python's CMakeLists.txt
# What llmd never loads is not built: the multimodal library, and the library that it alone needs.
LEAN = shlex.join((
    "-DLLAVA_BUILD=OFF",
    f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={ROOT / 'tools' / 'llama_without_common.cmake'}",
))  # fmt: skip


def main() -> int:
    if sys.version_info < MIN_PYTHON:
        use_newer_python()
    if not (VENV / "bin" / "python").exists():
        print("Making .venv", flush=True)
        # A copied interpreter does not find its library: Homebrew, uv, mise and asdf ship those
        # (python-build-standalone, issue 381).
        venv.create(VENV, with_pip=True, symlinks=True)
    LOG.write_text("")
    # The build tools come first, by hash. The rest is built with them, not with a build environment
    # that pip would fill with the newest versions.
    pip("build tools", "--require-hashes", "-r", "requirements-build.lock")
    if needs_cmake():
        pip("CMake and Ninja", "--require-hashes", "-r", "requirements-cmake.lock")
    pip(
        "packages (the native build of llama.cpp takes some minutes)",
        "--require-hashes",
        "--no-build-isolation",
        "-r",
        "requirements.lock",
    )
    pip("llmd", "--no-deps", "--no-build-isolation", "-e", ".")
    (VENV / ".installed").touch()
    return 0


def use_newer_python() -> NoReturn:
    """Runs this program with a newer Python of PATH, or says how to get one."""
    if newer := next(filter(None, map(shutil.which, NEWER_PYTHONS)), None):
        os.execv(newer, [newer, *sys.argv])  # noqa: S606
    how = "brew install python@3.13" if sys.platform == "darwin" else "your package manager"
    sys.exit(
        f"Python {sys.version.split()[0]} is too old; llmd needs 3.11 or later. Install one with"
        f" {how}, or name one: `PYTHON=/path/to/python3.13 make demo`"
    )


def needs_cmake() -> bool:
    """Returns whether the machine has no CMake that is new enough, or no Ninja and no make."""
    cmake = shutil.which("cmake")
    if cmake is None or not (shutil.which("ninja") or shutil.which("make")):
        return True
    done = subprocess.run([cmake, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    version = re.search(r"(\d+)\.(\d+)", done.stdout)
    return version is None or (int(version[1]), int(version[2])) < MIN_CMAKE


def pip(what: str, *args: str) -> None:
    print(f"Installing {what}", flush=True)
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-v", *args]
    env = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1), **os.environ}
    env["PATH"] = f"{VENV / 'bin'}:{env['PATH']}"
    env["CMAKE_ARGS"] = f"{LEAN} {env.get('CMAKE_ARGS', '')}".strip()
    with LOG.open("a") as log:
        run = subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        shown = -1
        for line in run.stdout or ():
            log.write(line)
            shown = show(line, shown)
    if shown >= 0 and sys.stdout.isatty():
        print()
    if run.wait():
        tail = LOG.read_text().splitlines()[-15:]
        sys.exit("\n".join([*tail, f"Installing {what} failed; {LOG} has all that pip printed"]))


def show(line: str, shown: int) -> int:
    """Prints the percentage of a build line if it has grown. Returns the percentage on screen."""
    if not (step := BUILD_STEP.search(line)):
        return shown
    percent = int(step[1]) if not step[2] else 100 * int(step[1]) // int(step[2])
    if sys.stdout.isatty():
        print(f"\r  building llama.cpp {percent:3d} %", end="", flush=True)
    elif percent // 10 > shown // 10:
        print(f"  building llama.cpp {percent} %", flush=True)
    return max(percent, shown)


if __name__ == "__main__":
    sys.exit(main())
