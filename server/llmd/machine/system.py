"""Reads CPU, memory and power from the operating system. The only importer of psutil."""

from __future__ import annotations

import os
import platform
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from llmd.machine import macos

_PRIO_DARWIN_PROCESS = 4  # sys/resource.h of macOS; Python names it from 3.12 on
_OPEN_MAX = 10240  # sys/syslimits.h of macOS, above which setrlimit fails
IN_BACKGROUND = (
    "macOS runs llmd in the background, on the efficiency cores alone; start the daemon from a"
    " terminal or an editor, or set ProcessType to Interactive in its launchd property list"
)


def cpu_name() -> str:
    """Returns the vendor's name of the CPU, such as `Apple M2`."""
    if sys.platform == "darwin":
        return macos.sysctl_text("machdep.cpu.brand_string") or platform.machine()
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(*keys: str) -> str:
    """Returns the first value of any of the keys in Linux's list of CPUs; empty: there is none."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(keys)), "")
    return ""


def n_cores() -> int:
    """Returns the physical cores that this process may use. Two threads per core would slow down
    prefill."""
    n_physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return min(n_physical, len(os.sched_getaffinity(0)))
    return n_physical


def n_fast_cores() -> int:
    """Returns the performance cores that this process may use; 0: all cores are of one kind."""
    try:
        n_fast = macos.n_fast_cores() if sys.platform == "darwin" else _n_fast_on_linux()
    except (OSError, ValueError):
        return 0
    return n_fast if n_fast < n_cores() else 0


def _n_fast_on_linux(root: Path = Path("/sys/devices")) -> int:
    """Reads the kinds of Intel cores and the capacities of ARM cores from sysfs. Counts two threads
    of one core once."""
    allowed = os.sched_getaffinity(0)
    cpus = root / "system" / "cpu"
    intel = root / "cpu_core" / "cpus"
    if intel.exists():
        fast = _parse_cpu_list(intel.read_text())
    else:
        capacities = {int(path.parent.name[3:]): int(path.read_text())
                      for path in cpus.glob("cpu[0-9]*/cpu_capacity")}  # fmt: skip
        fast = {cpu for cpu, n in capacities.items() if n == max(capacities.values())}
    siblings = (cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list" for cpu in fast & allowed)
    return len({path.read_text() if path.exists() else str(path) for path in siblings})


def _parse_cpu_list(text: str) -> set[int]:
    """Parses a list of CPUs: `0-3,8` becomes 0, 1, 2, 3, 8."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus |= set(range(int(first), int(last or first) + 1))
    return cpus


def set_priority(prio: int) -> str:
    """Sets the priority of this process, from -1 (low) to 3 (highest) as in llama.cpp.

    Returns a message for the user if the system refuses, else an empty string.
    """
    nice = {-1: 5, 0: 0, 1: -5, 2: -10, 3: -20}[prio]
    if not nice:
        return ""
    try:
        psutil.Process().nice(nice)
    except (psutil.Error, OSError):
        return (
            f"Config `engine.prio` is {prio}, which needs administrator rights on this system;"
            " the priority stays normal"
        )
    return ""


def is_in_background(pid: int = 0) -> bool:
    """Returns whether macOS keeps a process on its efficiency cores, as launchd does with
    `ProcessType` Background and all that such a process starts. 0: this process."""
    with suppress(OSError):
        return sys.platform == "darwin" and os.getpriority(_PRIO_DARWIN_PROCESS, pid) != 0
    return False


def leave_background() -> str:
    """Lifts this process, and what it starts later, from macOS's background. Returns a message for
    the user if the system refuses, else an empty string."""
    if is_in_background():
        with suppress(OSError):
            os.setpriority(_PRIO_DARWIN_PROCESS, 0, 0)
    return IN_BACKGROUND if is_in_background() else ""


def raise_open_files() -> None:
    """Allows this process as many open files as the system lets it: launchd gives 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_MAX if hard == resource.RLIM_INFINITY else min(hard, _OPEN_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def is_on_battery() -> bool | None:
    """Returns whether the machine runs on battery; None: no battery, or unknown."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):  # a platform without the sensor
        return None
    return None if battery is None else battery.power_plugged is False


def memory_bytes() -> int:
    """Returns the memory that this process may use: the machine's memory, or a lower limit."""
    limits = [psutil.virtual_memory().total]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        limits += [soft] if soft != resource.RLIM_INFINITY else []
    with suppress(OSError, ValueError):  # no cgroup v2, or the word `max`
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits)


def available_bytes() -> int:
    """Returns the memory that is available now without swapping."""
    found = macos.memory_bytes() if sys.platform == "darwin" else None
    free = min(found[0] if found else int(psutil.virtual_memory().available), memory_bytes())
    return min(free, _available_in_cgroup()) if sys.platform == "linux" else free


def wired_bytes() -> int:
    """Returns the memory that macOS cannot compress; 0: another system, or not known."""
    found = macos.memory_bytes() if sys.platform == "darwin" else None
    return found[1] if found else 0


def _available_in_cgroup(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns the memory left in the container's limit, counting file pages that can be dropped.

    Returns sys.maxsize without a limit.
    """
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no cgroup v2, or the word `max`
        return sys.maxsize
    return max(0, limit - used + int(stat.get("inactive_file", 0)))


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """Holds the memory pressure at one moment.

    `stalled_share`: share of the last 10 s in which a process waited for memory (Linux). `level`:
    1 normal, 2 warning, 4 critical (macOS). None: this system does not report the value.
    """

    free_bytes: int
    total_bytes: int
    stalled_share: float | None = None
    level: int | None = None


def read_memory() -> MemoryReading:
    free, total = available_bytes(), memory_bytes()
    if sys.platform == "darwin":
        level = macos.sysctl_number("kern.memorystatus_vm_pressure_level")
        return MemoryReading(free, total, level=level)
    return MemoryReading(free, total, stalled_share=_stalled_share())


def _stalled_share(path: Path = Path("/proc/pressure/memory")) -> float | None:
    """Reads `some avg10=1.50 avg60=…`, in percent; None: the kernel does not report it."""
    try:
        first = path.read_text().split()[1]
        return float(first.removeprefix("avg10=")) / 100
    except (OSError, ValueError, IndexError):
        return None


def swap_bytes() -> tuple[int, int]:
    """Returns the total and the used swap; 0: unknown."""
    try:
        swap = psutil.swap_memory()
    except (psutil.Error, OSError, RuntimeError):
        return 0, 0
    return int(swap.total), int(swap.used)


def swapped_bytes(pid: int | None) -> int:
    """Returns how much of a process's memory is in swap (Linux); 0 on other systems."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmSwap:"))
    return 0


def wired_limit_bytes() -> int | None:
    """Returns the GPU memory limit that the user set on macOS; 0: not set; None: not macOS."""
    if sys.platform != "darwin":
        return None
    return (macos.sysctl_number("iogpu.wired_limit_mb") or 0) << 20


def lock_bytes() -> int:
    """Returns how much memory this process may lock."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def cpu_flags() -> frozenset[str]:
    """Returns the CPU features by the names of the Linux kernel; empty on other systems."""
    return frozenset(_cpuinfo("flags", "Features").split())


def n_open_files() -> int:
    """Returns the number of open files; 0: unknown, since counting needs one more file."""
    try:
        return int(psutil.Process().num_fds())
    except (psutil.Error, OSError):
        return 0


def rss_bytes(pid: int | None) -> int:
    """Returns the resident memory of a process, on macOS with what Metal has for the process; 0: no
    such process."""
    if pid is None:
        return 0
    footprint = macos.footprint_bytes(pid) if sys.platform == "darwin" else None
    try:
        # The footprint lacks pages of a mapped file, the resident memory lacks Metal's.
        return max(footprint or 0, int(psutil.Process(pid).memory_info().rss))
    except (psutil.Error, OSError):
        return 0
