"""Starts llmd's own children, finds programs, and knows a process again before it is signalled.

`python -m` would import from the current folder first, and an empty or relative entry of PATH would
find a program there: a repository must not run its own code because a user stands in it.
Standard library only, since every editor's bridge imports this module.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

# Children work here, where no user can put a file.
FOLDER = "/"
# Variables that name a path, which is absolute for a child in another folder.
_PATHS = ("LLMD_CONFIG", "LLMD_MODELS_DIR", "LLMD_STATE_DIR", "LLMD_RUNTIME_DIR")
_PR_SET_DUMPABLE = 4  # linux/prctl.h
_PT_DENY_ATTACH = 31  # sys/ptrace.h of macOS
_FIRST_PID_SPACE = "pid:[4026531836]"  # linux/proc_ns.h, PROC_PID_INIT_INO
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


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Tells a process from every other one, also where a home is shared by machines or containers,
    in each of which the same pid is another process.

    `boot`: of the machine since its start. `pid_space`: the pid namespace (Linux). `started`: when
    the process started, in the kernel's own unit.
    """

    pid: int
    host: str
    boot: str
    pid_space: str
    started: str

    def is_running_here(self) -> bool:
        """Returns whether the pid is of this machine since its last start, and of this container,
        and still the same process."""
        here = socket.gethostname(), boot_id(), pid_space()
        is_here = (self.host, self.boot, self.pid_space) == here
        return is_here and bool(self.started) and started_at(self.pid) == self.started


def own_identity() -> ProcessIdentity:
    pid = os.getpid()
    return ProcessIdentity(pid, socket.gethostname(), boot_id(), pid_space(), started_at(pid))


def place_name() -> str:
    """Returns a name of this machine or container that can be a part of a file's name."""
    return re.sub("[^A-Za-z0-9.-]", "_", socket.gethostname())[:40] + pid_space()


def parse_identity(row: Mapping[str, object]) -> ProcessIdentity | None:
    """Returns None for what an older llmd, or somebody else, has written."""
    try:
        pid, *texts = (row[field.name] for field in fields(ProcessIdentity))
    except KeyError:
        return None
    is_valid = type(pid) is int and pid > 1 and all(isinstance(text, str) for text in texts)
    return ProcessIdentity(pid, *texts) if is_valid else None  # type: ignore[arg-type]


def kill(identity: ProcessIdentity) -> None:
    """Kills a process that `is_running_here`, unless it has ended since: a pid is used again."""
    try:
        # A descriptor holds the process: its pid cannot become another's between look and signal.
        handle = os.pidfd_open(identity.pid) if sys.platform == "linux" else -1
    except ProcessLookupError:
        return
    except OSError:  # a kernel before 5.3
        handle = -1
    try:
        if started_at(identity.pid) != identity.started:
            return
        with suppress(ProcessLookupError):
            if handle >= 0:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            else:
                os.kill(identity.pid, signal.SIGKILL)
    finally:
        if handle >= 0:
            os.close(handle)


def started_at(pid: int) -> str:
    """Returns when a process of this machine started; empty: none, or not known."""
    if sys.platform == "linux":
        with suppress(OSError, IndexError):
            # The name, in brackets, may hold anything; field 22 of the whole is the 20th after it.
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        command = ("/bin/ps", "-o", "lstart=", "-p", str(pid))
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=5, check=False, env={"LC_ALL": "C"}
        )
        return done.stdout.strip()
    return ""


@cache
def boot_id() -> str:
    """Returns a name of this machine's time since its start; empty: not known."""
    if sys.platform == "linux":
        with suppress(OSError):
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return ""
    command = ("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
        return done.stdout.strip()
    return ""


def pid_space() -> str:
    """Returns the number of this process's pid namespace, empty for that of the machine itself."""
    try:
        name = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    return "" if name == _FIRST_PID_SPACE else "-" + re.sub(r"\D", "", name)


def peer_uid(peer: socket.socket) -> int:
    """Returns the user id of the process at the other end of a unix socket, as the kernel reports
    it.

    Raises:
        OSError: the peer has gone.
    """
    if sys.platform == "linux":
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[1])
    # macOS and the BSDs: getsockopt(SOL_LOCAL, LOCAL_PEERCRED) returns a struct xucred, which
    # begins with a version and the uid.
    sol_local, local_peercred, xucred_bytes = 0, 1, 76
    credentials = peer.getsockopt(sol_local, local_peercred, xucred_bytes)
    return int(struct.unpack_from("II", credentials)[1])


def protect_memory() -> None:
    """Keeps this process's memory, which holds the user's text, off the disk and from debuggers: no
    core dump, also where the system pipes it to a program, and no ptrace by other processes."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        if sys.platform == "linux":
            libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        elif sys.platform == "darwin":
            libc.ptrace(_PT_DENY_ATTACH, 0, None, 0)
