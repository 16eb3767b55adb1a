"""Runs one untrusted program in the current process: with limits, without network, without child
processes, and without writing outside the folder. Standard library only; `sandbox` starts this file
with `-I -S`.

Standard input has a line with a token, then the program. The token is printed when the program has
run to its end; nothing else reaches standard output. This protects the machine from accidents of
generated code, not from code that was written to break out.
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
    """Leaves the network if the kernel permits (Linux); the audit hook forbids sockets anyway."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _set_limits() -> None:
    limits = {
        resource.RLIMIT_CPU: CPU_S,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: N_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,  # does not bind root; the audit hook binds all
    }
    for limit, maximum in limits.items():
        with suppress(ValueError, OSError):  # macOS cannot limit the address space
            resource.setrlimit(limit, (maximum, maximum))


def _audit_hook(folder: str) -> Any:
    """Returns an audit hook (PEP 578), which cannot be removed."""

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
        if isinstance(path, int):  # an open file
            return
        target = os.path.realpath(os.fsdecode(path))
        if target != os.devnull and not target.startswith(folder + os.sep):
            raise PermissionError("outside of the folder")

    return guard


def _is_for_writing(args: tuple[Any, ...]) -> bool:
    """Returns whether the flags of `open` write. os.open has no mode, so the mode is not used."""
    flags = args[2] if isinstance(args[2], int) else 0
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))


if __name__ == "__main__":
    main()
