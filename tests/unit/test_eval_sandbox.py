"""A candidate passes only when it runs to its end, and leaves nothing behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from llmd.cli.eval import case_files
from llmd.cli.eval.sandbox import program, runs_to_end

FORBIDDEN = {
    "fork": "os.fork()",
    "a program": "__import__('subprocess').run(['true'])",
    "a shell": "os.system('true')",
    "replacing itself": "os.execv('/bin/true', ['true'])",
    "a socket": "__import__('socket').socket()",
    "a name": "__import__('socket').getaddrinfo('localhost', 80)",
    "its parent": "os.kill(os.getppid(), 0)",
    "native code": "__import__('ctypes').CDLL(None)",
    "its limits": "__import__('resource').setrlimit(0, (1, 1))",
    "writing outside": "open({outside!r}, 'w')",
    "appending by descriptor": "os.open({outside!r}, os.O_WRONLY | os.O_CREAT)",
    "renaming out": "(open('a', 'w').close(), os.rename('a', {outside!r}))",
    "climbing": "open('../' + os.path.basename(os.getcwd()) + '-x', 'w')",
}
ALLOWED = {
    "its own files": "open('a', 'w').write('x'); assert open('a').read() == 'x'; os.remove('a')",
    "imports": "import math, typing, collections, hashlib, re",
    "printing": "print('x' * 100_000)",
    "no input": "assert __import__('sys').stdin.read() == ''",
}
FAILING = {
    "an assertion": "assert False",
    "no syntax": "(",
    "leaving early": "os._exit(0)",
    "leaving politely": "raise SystemExit(0)",
    "a large file": "open('a', 'wb').write(bytes(8 << 20))",
    "many files": "[open('/dev/null') for _ in range(500)].index(0)",
}
if sys.platform == "linux":  # macOS has no limit of address space
    FAILING["memory"] = "x = bytearray(3 << 29)"
ENDLESS = {
    "a loop": "while True: pass",
    "a flood": "while True: print('x' * 10_000)",
    "a sleep": "__import__('time').sleep(600)",
    "ignoring signals": "import signal; signal.signal(15, signal.SIG_IGN)\nwhile True: pass",
}


def n_caged() -> int:
    mine = psutil.Process().children(recursive=True)
    return sum("sandbox_child.py" in " ".join(child.cmdline()) for child in mine)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden(name: str, tmp_path: Path) -> None:
    """It raises; a program that goes on after it passes, so nothing else has ended this one."""
    outside = tmp_path / "outside"
    act = FORBIDDEN[name].format(outside=str(outside))
    caught = (
        f"import os\ntry:\n    {act}\nexcept PermissionError:\n    pass\nelse:\n    raise OSError"
    )
    assert runs_to_end(caught)
    assert not runs_to_end(f"import os\n{act}")
    assert not outside.exists()


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name: str) -> None:
    assert runs_to_end(f"import os\n{ALLOWED[name]}")


@pytest.mark.parametrize("name", FAILING)
def test_failing(name: str) -> None:
    assert not runs_to_end(f"import os\n{FAILING[name]}")


@pytest.mark.parametrize("name", ENDLESS)
def test_endless(name: str) -> None:
    assert not runs_to_end(ENDLESS[name], timeout_s=1.0)
    assert n_caged() == 0


def test_a_bomb_of_forks_ends_with_its_first() -> None:
    n_before = len(psutil.pids())
    assert not runs_to_end(
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        1.0,
    )
    assert n_caged() == 0
    assert len(psutil.pids()) < n_before + 50


def test_its_folder_is_its_own_and_gone_afterwards(tmp_path: Path) -> None:
    here = os.getcwd()
    assert runs_to_end(f"import os\nassert os.getcwd() != {here!r} and os.listdir() == []")


def test_nothing_of_the_users_environment_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret")
    assert runs_to_end("import os\nassert 'SOME_TOKEN' not in os.environ")


def test_true_answers_pass_and_wrong_ones_do_not() -> None:
    for name in ("single-line", "random-span"):
        for place in case_files.read_set(name)[::300]:
            assert place.test
            assert runs_to_end(program(place, place.truth)), place.id
            assert not runs_to_end(program(place, "    return None\n")), place.id
