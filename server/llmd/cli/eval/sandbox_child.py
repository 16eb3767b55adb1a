"""Runs one untrusted program in the current process: its own limits, no network, no process, no
writing outside its folder. Standard library only, started by `sandbox` with `-I -S`.

Standard input: a line with a token, then the program. The token is printed when the program has
run to its end; nothing else reaches standard output. This keeps the accidents of generated code
from the machine. It is no wall against code that was written to break out.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from contextlib import suppress
from typing import Any

CPU_S = 10
MEMORY_BYTES = 1 << 30
FILE_BYTES = 1 << 20
N_FILES = 64
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000

_FORBIDDEN = (
    "socket.", "subprocess.", "os.fork", "os.forkpty", "os.exec", "os.spawn", "os.posix_spawn",
    "os.system", "os.kill", "os.killpg", "signal.pthread_kill", "ctypes.", "pty.", "os.startfile",
    "resource.", "syslog.",
)  # fmt: skip
_WRITES = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "os.setxattr", "os.removexattr", "os.chflags",
    "shutil.", "tempfile.", "sqlite3.connect",
)  # fmt: skip


def main() -> None:
    token = sys.stdin.readline()
    program = sys.stdin.read()
    result = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    _unshare_network()
    _set_limits()
    code = compile(program, "<candidate>", "exec")
    sys.addaudithook(_audit_hook(os.path.realpath(os.getcwd())))
    exec(code, {"__name__": "candidate"})  # noqa: S102
    os.write(result, token.encode())
    os._exit(0)


def _unshare_network() -> None:
    """Where the kernel lets a user do so (Linux); the audit hook forbids sockets in any case."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _set_limits() -> None:
    limits = {
        resource.RLIMIT_CPU: CPU_S,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: N_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,  # root is not held by it; the audit hook holds all
    }
    for what, most in limits.items():
        with suppress(ValueError, OSError):  # macOS has no limit of address space
            resource.setrlimit(what, (most, most))


def _audit_hook(folder: str) -> Any:
    """An audit hook (PEP 578), which cannot be taken off again."""

    def guard(event: str, args: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(event)
        if event == "open" and _is_for_writing(args):
            check(args[0])
        elif event.startswith(_WRITES):
            for arg in args:
                if isinstance(arg, (str, bytes, os.PathLike)):
                    check(arg)

    def check(path: Any) -> None:
        if isinstance(path, int):  # a file that is open already
            return
        found = os.path.realpath(os.fsdecode(path))
        if found != os.devnull and not found.startswith(folder + os.sep):
            raise PermissionError("outside of the folder")

    return guard


def _is_for_writing(args: tuple[Any, ...]) -> bool:
    """`mode` is None where os.open was called, whose flags then tell."""
    flags = args[2] if isinstance(args[2], int) else 0
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))


if __name__ == "__main__":
    main()
