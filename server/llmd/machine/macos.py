"""Reads macOS's own numbers by ctypes, since a program for each would take milliseconds every ten
seconds. What decodes and decides is pure, and gets recorded numbers in the tests."""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

NORMAL_PRESSURE = 1  # of kern.memorystatus_vm_pressure_level; 2 is a warning, 4 critical
_HOST_VM_INFO64 = 4  # mach/host_info.h
# struct vm_statistics64 of mach/vm_statistics.h up to internal_page_count.
_VM_STATISTICS = struct.Struct("=4I 9Q 2I 4Q 4I")
_RUSAGE_INFO_V0 = 0  # sys/resource.h
_FOOTPRINT_OFFSET = 72  # of ri_phys_footprint in struct rusage_info_v0
_BUFFER_BYTES = 1024


@dataclass(frozen=True, slots=True)
class VmPages:
    """Counts pages of macOS's memory. `free` are without the speculative ones, as vm_stat prints
    them; `file_backed` are with them."""

    free: int
    file_backed: int
    purgeable: int
    wired: int

    def available_bytes(self, page_bytes: int) -> int:
        """Returns the memory that is free, or holds what can be read from a file again.

        Inactive pages, which psutil counts, are mostly programs' own memory, to be compressed.
        """
        return (self.free + self.file_backed + self.purgeable) * page_bytes


def decode_vm_statistics(data: bytes) -> VmPages:
    """Decodes struct vm_statistics64, whose free pages include the speculative ones."""
    fields = _VM_STATISTICS.unpack_from(data)
    free, wired, purgeable, speculative = fields[0], fields[3], fields[13], fields[14]
    return VmPages(free - speculative, fields[21], purgeable, wired)


def decode_number(data: bytes) -> int | None:
    """Decodes the value of a sysctl; None: it is no number of 4 or 8 bytes."""
    return int.from_bytes(data, sys.byteorder) if len(data) in (4, 8) else None


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sysctlbyname.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p,
                                  ctypes.c_void_p, ctypes.c_size_t]  # fmt: skip
    return libc


def read_sysctl(name: str) -> bytes:
    """Returns the raw value of a sysctl; empty: there is none of this name."""
    buffer, size = ctypes.create_string_buffer(_BUFFER_BYTES), ctypes.c_size_t(_BUFFER_BYTES)
    try:
        code = _libc().sysctlbyname(name.encode(), buffer, ctypes.byref(size), None, 0)
    except (OSError, AttributeError):  # not macOS
        return b""
    return b"" if code else buffer.raw[: size.value]


def sysctl_number(name: str) -> int | None:
    return decode_number(read_sysctl(name))


def sysctl_text(name: str) -> str:
    return read_sysctl(name).rstrip(b"\0").decode(errors="replace")


def n_fast_cores() -> int:
    """Returns how many cores are faster than the slowest kind; 0: not known."""
    n_levels = sysctl_number("hw.nperflevels") or 0
    return count_fast_cores(
        [
            (
                sysctl_text(f"hw.perflevel{n}.name"),
                sysctl_number(f"hw.perflevel{n}.physicalcpu") or 0,
            )
            for n in range(n_levels)
        ]
    )


def count_fast_cores(levels: Sequence[tuple[str, int]]) -> int:
    """Counts the cores of all levels of performance but the efficiency cores. `levels`: name and
    count, the fastest first. An M5 Max has "Super" and "Performance" cores and no others. Levels
    without names are of an older macOS, whose second level is the efficiency cores."""
    named = [n for name, n in levels if name and name != "Efficiency"]
    return sum(named) or sum(n for _, n in levels[:1])


def memory_bytes() -> tuple[int, int] | None:
    """Returns the memory that is available without compressing any, and the wired memory, which
    cannot be compressed; None: not known."""
    buffer, count = ctypes.create_string_buffer(_BUFFER_BYTES), ctypes.c_uint(_BUFFER_BYTES // 4)
    page_bytes = sysctl_number("hw.pagesize")
    try:
        host = _mach_host()
        code = _libc().host_statistics64(host, _HOST_VM_INFO64, buffer, ctypes.byref(count))
    except (OSError, AttributeError):
        return None
    if code or not page_bytes or count.value * 4 < _VM_STATISTICS.size:
        return None
    pages = decode_vm_statistics(buffer.raw)
    return pages.available_bytes(page_bytes), pages.wired * page_bytes


@cache
def _mach_host() -> int:
    """Returns the port of this machine. Each call makes a right to it, so it is made once."""
    return int(_libc().mach_host_self())


def footprint_bytes(pid: int) -> int | None:
    """Returns the memory that a process takes, Metal's included; None: not known."""
    buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
    try:
        code = _libc().proc_pid_rusage(pid, _RUSAGE_INFO_V0, buffer)
    except (OSError, AttributeError):
        return None
    return None if code else int.from_bytes(buffer.raw[_FOOTPRINT_OFFSET:][:8], sys.byteorder)
