"""What the operating system knows of this machine. The only importer of psutil."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


def cpu_name() -> str:
    """As its maker calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def n_cores() -> int:
    """Physical cores that this process may use: two threads of one core slow a prefill down."""
    n_physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return min(n_physical, len(os.sched_getaffinity(0)))
    return n_physical


def n_fast_cores() -> int:
    """Physical cores of the fast kind that this process may use; 0 where all are alike."""
    try:
        n_fast = _n_fast_on_macos() if sys.platform == "darwin" else _n_fast_on_linux()
    except (OSError, ValueError):
        return 0
    return n_fast if n_fast < n_cores() else 0


def _n_fast_on_macos() -> int:
    return _sysctl("hw.perflevel0.physicalcpu")


def _sysctl(name: str) -> int:
    """
    Raises:
        OSError: there is no such command.
        ValueError: it says no number.
    """
    asked = ["/usr/sbin/sysctl", "-n", name]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
    return int(said.stdout)


def _n_fast_on_linux(root: Path = Path("/sys/devices")) -> int:
    """Intel names the kinds; ARM gives each a capacity. Two threads of one core are one."""
    allowed = os.sched_getaffinity(0)
    cpus = root / "system" / "cpu"
    intel = root / "cpu_core" / "cpus"
    if intel.exists():
        fast = _parse_cpu_list(intel.read_text())
    else:
        found = {int(path.parent.name[3:]): int(path.read_text())
                 for path in cpus.glob("cpu[0-9]*/cpu_capacity")}  # fmt: skip
        fast = {cpu for cpu, n in found.items() if n == max(found.values())}
    siblings = (cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list" for cpu in fast & allowed)
    return len({path.read_text() if path.exists() else str(path) for path in siblings})


def _parse_cpu_list(text: str) -> set[int]:
    """`0-3,8` to 0, 1, 2, 3, 8."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def set_priority(prio: int) -> str:
    """Of this process, as llama.cpp counts: -1 low to 3 highest. Returns why it could not be."""
    nice = {-1: 5, 0: 0, 1: -5, 2: -10, 3: -20}[prio]
    if not nice:
        return ""
    try:
        psutil.Process().nice(nice)
    except (psutil.Error, OSError):
        return (
            f"Config `engine.prio` is {prio}, which this system grants to the administrator alone;"
            " it stays normal"
        )
    return ""


def is_on_battery() -> bool | None:
    """Whether the machine runs on its battery; None where it has none or does not say."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):  # a platform without the sensor
        return None
    return None if battery is None else battery.power_plugged is False


def memory_bytes() -> int:
    """What a process of ours may use: the machine's memory, or less where a limit is set."""
    limits = [psutil.virtual_memory().total]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        limits += [soft] if soft != resource.RLIM_INFINITY else []
    with suppress(OSError, ValueError):  # no cgroup v2, or the word `max`
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits)


def available_bytes() -> int:
    """What can be had at this moment without the system going into swap."""
    free = min(int(psutil.virtual_memory().available), memory_bytes())
    return min(free, _available_in_cgroup()) if sys.platform == "linux" else free


def _available_in_cgroup(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Of a container's memory, where it has a limit: files' pages can be dropped."""
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # none, or the word `max`
        return sys.maxsize
    return max(0, limit - used + int(stat.get("inactive_file", 0)))


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """How short memory is right now. `stalled_share`: of the last 10 s in which something waited
    for memory (Linux). `level`: what macOS calls 1 normal, 2 warning, 4 critical. None: this
    system does not say."""

    free_bytes: int
    total_bytes: int
    stalled_share: float | None = None
    level: int | None = None


def read_memory() -> MemoryReading:
    free, total = available_bytes(), memory_bytes()
    if sys.platform == "darwin":
        return MemoryReading(free, total, level=_macos_level())
    return MemoryReading(free, total, stalled_share=_stalled_share())


def _stalled_share(path: Path = Path("/proc/pressure/memory")) -> float | None:
    """`some avg10=1.50 avg60=…`, in percent; the kernel may have it switched off."""
    try:
        first = path.read_text().split()[1]
        return float(first.removeprefix("avg10=")) / 100
    except (OSError, ValueError, IndexError):
        return None


def _macos_level() -> int | None:
    try:
        return _sysctl("kern.memorystatus_vm_pressure_level")
    except (OSError, ValueError):
        return None


def swap_bytes() -> tuple[int, int]:
    """In all, and used; 0 where the system does not say."""
    try:
        found = psutil.swap_memory()
    except (psutil.Error, OSError, RuntimeError):
        return 0, 0
    return int(found.total), int(found.used)


def swapped_bytes(pid: int | None) -> int:
    """Of a process's memory, what is in swap (Linux); 0 elsewhere."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmSwap:"))
    return 0


def wired_limit_bytes() -> int | None:
    """What macOS lets the GPU have where the user set it, else 0; None on other systems."""
    if sys.platform != "darwin":
        return None
    try:
        return _sysctl("iogpu.wired_limit_mb") << 20
    except (OSError, ValueError):
        return 0


def lock_bytes() -> int:
    """What a process of ours may lock in memory."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def cpu_flags() -> frozenset[str]:
    """As the Linux kernel names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    named = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(named, "").split())


def gpu_makers(devices: Path = Path("/sys/bus/pci/devices")) -> frozenset[str]:
    """Of those that llama.cpp has a backend for, by the PCI bus or by the chip."""
    if sys.platform == "darwin":
        return frozenset({"Apple"} if platform.machine() == "arm64" or is_translated() else ())
    makers = {"0x10de": "NVIDIA", "0x1002": "AMD"}
    found = set()
    for kind in devices.glob("*/class"):
        with suppress(OSError):
            if kind.read_text().startswith("0x03"):  # display controllers
                found.add(makers.get(kind.with_name("vendor").read_text().strip(), ""))
    return frozenset(found - {""})


def is_translated() -> bool:
    """Whether this is a program for Intel on an Apple chip."""
    if sys.platform != "darwin":
        return False
    with suppress(OSError, ValueError):
        return _sysctl("sysctl.proc_translated") == 1
    return False


def n_open_files() -> int:
    """0 where it cannot be told: to count them takes one."""
    try:
        return int(psutil.Process().num_fds())
    except (psutil.Error, OSError):
        return 0


def rss_bytes(pid: int | None) -> int:
    """Resident memory of a process; 0 where there is none."""
    if pid is None:
        return 0
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):
        return 0
