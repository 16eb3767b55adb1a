"""Tests what is made of macOS's numbers, from outputs recorded on Macs, under a faked platform."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.support.recordings import recorded

from llmd import machine
from llmd.config import EngineConfig
from llmd.engine.memory_pressure import severity
from llmd.engine.process import KEEP_WIRED, worker_variables
from llmd.errors import ModelError, os_reason
from llmd.machine import macos, system
from llmd.models.memory_plan import DescribedMachine, Gpu, Shape, explain_plan, plan_load
from llmd.models.memory_plan.sizes import mapped_bytes

GIB = 1 << 30
_ORDER = {  # of struct vm_statistics64, by vm_stat's names; "" is not printed
    0: "Pages free", 1: "Pages active", 2: "Pages inactive", 3: "Pages wired down",
    13: "Pages purgeable", 14: "Pages speculative", 19: "Pages occupied by compressor",
    20: "Pages throttled", 21: "File-backed pages", 22: "Anonymous pages",
}  # fmt: skip


def pages(text: str) -> dict[str, int]:
    return {name.strip('" '): int(n) for name, n in re.findall(r"^(.+?):\s+(\d+)\.", text, re.M)}


def as_kernel(text: str) -> bytes:
    """Packs what vm_stat printed as host_statistics64 returns it, speculative pages among the free
    ones (vm_stat.c takes them out)."""
    read, fields = pages(text), [0] * 23
    for place, name in _ORDER.items():
        fields[place] = read[name]
    fields[0] += fields[14]
    return macos._VM_STATISTICS.pack(*fields) + bytes(64)


VM_STAT = recorded("vm_stat")


@pytest.mark.parametrize(("name", "text"), VM_STAT)
def test_free_and_file_pages_are_available(name: str, text: str) -> None:
    """The parts of the memory that are not available are programs' own, wired and compressed."""
    page_bytes = int(re.findall(r"page size of (\d+)", text)[0])
    read = pages(text)
    held = sum(read[key] for key in ("Anonymous pages", "Pages wired down",
                                     "Pages occupied by compressor"))  # fmt: skip
    total = sum(read[key] for key in _ORDER.values()) - read["Pages purgeable"]
    total -= read["File-backed pages"] + read["Anonymous pages"]
    expected = (total - held + read["Pages purgeable"]) * page_bytes
    assert macos.decode_vm_statistics(as_kernel(text)).available_bytes(page_bytes) == expected


def test_the_recordings_differ_as_the_machines_do() -> None:
    available = {
        name: macos.decode_vm_statistics(as_kernel(text)).available_bytes(
            int(re.findall(r"page size of (\d+)", text)[0])
        ) / GIB
        for name, text in VM_STAT
    }  # fmt: skip
    assert available["mac_mini_32gb_starved"] < 7  # psutil's would count compressible pages
    assert available["mac_48gb_file_cache"] > 30  # psutil's would miss active file pages
    assert available["intel_32gb_calm_4k"] > 25


def sysctls(*names: str) -> dict[str, bytes]:
    """Returns recorded values as the kernel returns them."""
    kept: dict[str, bytes] = {}
    for name, text in recorded("sysctl"):
        if name in names:
            for key, value in re.findall(r"^([\w.]+): (.*)$", text, re.M):
                kept[key] = value.encode() + b"\0"
                if value.isdigit():
                    kept[key] = int(value).to_bytes(8 if key == "hw.memsize" else 4, "little")
    return kept


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("sys.platform", "darwin")
    return monkeypatch


def values(mac: pytest.MonkeyPatch, by_name: Mapping[str, bytes]) -> None:
    mac.setattr(macos, "read_sysctl", lambda name: by_name.get(name, b""))


@pytest.mark.parametrize(
    ("names", "n_cores", "n_fast"),
    [
        (("m1_pro",), 10, 0),  # hw.nperflevels was not recorded: not known
        (("m5_max_perflevels",), 18, 0),  # all are fast
        (("m5_max_perflevels",), 20, 18),  # if two more were slow
        ((), 8, 0),
    ],
)
def test_fast_cores(
    mac: pytest.MonkeyPatch, names: tuple[str, ...], n_cores: int, n_fast: int
) -> None:
    values(mac, sysctls(*names))
    mac.setattr(system, "n_cores", lambda: n_cores)
    assert machine.n_fast_cores() == n_fast


@pytest.mark.parametrize(
    ("levels", "n_fast"),
    [
        ([("Performance", 4), ("Efficiency", 4)], 4),
        ([("", 8), ("", 2)], 8),
        ([("Super", 6), ("Performance", 12)], 18),
        ([], 0),
    ],
)
def test_the_cores_of_all_but_the_efficiency_level_are_fast(
    levels: list[tuple[str, int]], n_fast: int
) -> None:
    assert macos.count_fast_cores(levels) == n_fast


@pytest.mark.parametrize(
    ("name", "expected"),
    [("m1_pro", "Apple M1 Pro"), ("m3_ultra_96gb", "Apple M3 Ultra"),
     ("intel_i5_7267u", "Intel(R) Core(TM) i5-7267U CPU @ 3.10GHz")],
)  # fmt: skip
def test_the_chip_s_name(mac: pytest.MonkeyPatch, name: str, expected: str) -> None:
    values(mac, sysctls(name))
    assert machine.cpu_name() == expected


@pytest.mark.parametrize(
    ("name", "limit_bytes"),
    [("wired_limit_0", 0), ("wired_limit_118000", 118000 << 20), ("m1_16gb", 0)],
)
def test_the_wired_limit(mac: pytest.MonkeyPatch, name: str, limit_bytes: int) -> None:
    values(mac, sysctls(name))
    assert machine.wired_limit_bytes() == limit_bytes


@pytest.mark.parametrize(
    ("name", "expected"),
    [("m4_16gb_pressure_normal", "calm"), ("m4_24gb_pressure_warn", "short")],
)
def test_pressure_is_the_kernel_s_level_alone(
    mac: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    values(mac, sysctls(name))
    reading = machine.read_memory()
    assert severity(replace(reading, free_bytes=0)) == expected  # macOS compresses first
    assert severity(replace(reading, free_bytes=reading.total_bytes)) == expected
    assert severity(replace(reading, level=4)) == "spent"


@pytest.mark.parametrize(
    ("data", "number"),
    [(b"\x01\0\0\0", 1), (bytes(7) + b"\x01", 1 << 56), (b"", None), (b"a", None)],
)
def test_a_number_has_four_or_eight_bytes(data: bytes, number: int | None) -> None:
    assert macos.decode_number(data) == number


@pytest.mark.skipif("sys.platform == 'darwin'")
def test_without_macos_nothing_is_read() -> None:
    assert macos.read_sysctl("hw.memsize") == b""
    assert macos.memory_bytes() is None
    assert machine.wired_bytes() == 0
    assert macos.footprint_bytes(os.getpid()) is None


class Libc:
    """Answers as macOS's C library does, into the buffers that it is given."""

    def __init__(self, statistics: bytes, footprint_bytes: int) -> None:
        self._statistics, self._footprint_bytes = statistics, footprint_bytes

    def mach_host_self(self) -> int:
        return 0x1203

    def host_statistics64(self, host: int, flavor: int, buffer: Any, count: Any) -> int:
        assert (host, flavor) == (0x1203, 4)
        assert count._obj.value * 4 == len(buffer)
        buffer[: len(self._statistics)] = self._statistics
        count._obj.value = 38  # HOST_VM_INFO64_COUNT
        return 0

    def proc_pid_rusage(self, pid: int, flavor: int, buffer: Any) -> int:
        if pid != 7:
            return -1
        buffer[72:80] = self._footprint_bytes.to_bytes(8, "little")
        return 0


@pytest.fixture
def libc(mac: pytest.MonkeyPatch) -> Iterator[None]:
    """A Mac of 32 GB with few free pages, and a process 7."""
    fake = Libc(as_kernel(dict(VM_STAT)["mac_mini_32gb_few_free_no_pressure"]), 3 * GIB)
    mac.setattr(macos, "_libc", lambda: fake)
    values(mac, {"hw.pagesize": (16384).to_bytes(8, "little")})
    yield
    macos._mach_host.cache_clear()


@pytest.mark.usefixtures("libc")
def test_available_memory_and_footprint_come_from_the_kernel(mac: pytest.MonkeyPatch) -> None:
    mac.setattr(system, "memory_bytes", lambda: 32 * GIB)
    assert machine.available_bytes() / GIB == pytest.approx(7.8, abs=0.05)  # psutil says 14
    assert machine.wired_bytes() / GIB == pytest.approx(1.9, abs=0.05)
    assert macos.footprint_bytes(7) == 3 * GIB
    assert macos.footprint_bytes(8) is None


@pytest.mark.parametrize("can_leave", [True, False])
def test_a_daemon_leaves_the_background(mac: pytest.MonkeyPatch, can_leave: bool) -> None:
    priority = [1]
    mac.setattr(os, "getpriority", lambda which, _: priority[0] if which == 4 else 0)

    def set_priority(_which: int, _who: int, value: int) -> None:
        if not can_leave:
            raise PermissionError
        priority[0] = value

    mac.setattr(os, "setpriority", set_priority)
    assert machine.is_in_background()
    assert ("launchd" in machine.leave_background()) == (not can_leave)
    assert machine.is_in_background() == (not can_leave)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((256, resource.RLIM_INFINITY), 10240), ((256, 4096), 4096), ((1 << 20, 1 << 20), None)],
)
def test_the_limit_of_open_files_is_raised(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], expected: int | None
) -> None:
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: made.append(new))
    machine.raise_open_files()
    assert made == ([(expected, limits[1])] if expected else [])


@pytest.mark.parametrize(
    ("idle_unload_s", "on_battery", "wired_s"),
    [(1800, False, "1800"), (1800, True, "180"), (0, False, "2592000"), (0, True, "180")],
)
def test_an_idle_model_stays_wired_while_it_is_loaded(
    idle_unload_s: int, on_battery: bool, wired_s: str
) -> None:
    made = worker_variables({}, idle_unload_s, on_battery, "darwin")
    assert made == {KEEP_WIRED: wired_s, "GGML_NO_BACKTRACE": "1"}
    assert machine.gpu_variables(made) == ()  # which lists the user's own
    set_by_user = {KEEP_WIRED: "7"}
    assert KEEP_WIRED not in worker_variables(set_by_user, idle_unload_s, on_battery, "darwin")
    assert KEEP_WIRED not in worker_variables({}, idle_unload_s, on_battery, "linux")


def test_a_guarded_folder_of_macos_is_explained(mac: pytest.MonkeyPatch) -> None:
    assert "Files and Folders" in os_reason(PermissionError(1, "Operation not permitted"))
    assert os_reason(PermissionError(13, "Permission denied")) == "Permission denied"
    assert os_reason(ValueError("embedded null byte")) == "embedded null byte"


def test_on_another_system_eperm_is_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert os_reason(PermissionError(1, "Operation not permitted")) == "Operation not permitted"


LAYER = GIB // 4
SHAPE = Shape(
    32, 8, 128, 32768, n_head=32, n_embd=4096, n_ff=11008, n_vocab=32000,
    layer_bytes=(LAYER,) * 32, input_bytes=GIB // 8, output_bytes=GIB // 8,
)  # fmt: skip


def mac_of(gib: int, free_gib: float, wired_gib: float, is_calm: bool = False) -> DescribedMachine:
    gpu = Gpu("Apple M2", round(wired_gib * GIB), round(wired_gib * GIB), "MTL")
    return DescribedMachine("metal", 8, 4, gib * GIB, round(free_gib * GIB), (gpu,), True, is_calm)


def test_a_calm_mac_makes_room_for_a_whole_model() -> None:
    """8.3 GiB of weights, 5 GiB free of 16, 11 GiB for the GPU."""
    with pytest.raises(ModelError, match="are free"):
        plan_load(EngineConfig(), mac_of(16, 5, 11), SHAPE)
    calm = mac_of(16, 5, 11, is_calm=True)
    whole = plan_load(EngineConfig(), calm, SHAPE)
    assert (whole.n_gpu_layers, whole.n_ctx) == (-1, 2048)
    lines = explain_plan(EngineConfig(), calm, SHAPE, whole)
    assert any(line.startswith("macOS: ") and "compressing" in line for line in lines)
    assert not any(line.startswith("Disk: ") for line in lines)


def test_wired_memory_cannot_be_made_free() -> None:
    """32 GB of which another model has 21 wired, as in the recording."""
    calm = replace(mac_of(32, 7, 22, is_calm=True), ram_wired_bytes=20 * GIB)
    with pytest.raises(ModelError, match="are free"):
        plan_load(EngineConfig(), calm, SHAPE)
    assert plan_load(EngineConfig(), replace(calm, ram_wired_bytes=3 * GIB), SHAPE)
    roomy = calm.with_memory_made_free()
    assert roomy
    assert roomy.ram_free_bytes == max(calm.ram_free_bytes, 32 * GIB - 4 * GIB - 20 * GIB)


@pytest.mark.parametrize("n_gpu_layers", [0, 10])
def test_a_calm_mac_makes_no_room_for_layers_on_the_cpu(n_gpu_layers: int) -> None:
    with pytest.raises(ModelError):
        plan_load(EngineConfig(n_gpu_layers=n_gpu_layers), mac_of(16, 5, 11, is_calm=True), SHAPE)


@pytest.mark.parametrize("wired_gib", [8.0, 6.0])
def test_a_calm_mac_does_not_pass_the_wired_limit(wired_gib: float) -> None:
    made = plan_load(EngineConfig(), mac_of(16, 12, wired_gib, is_calm=True), SHAPE)
    assert 0 < made.n_gpu_layers < 33
    assert made.memory
    assert sum(made.memory.gpu_bytes) <= wired_gib * GIB


def spans(first: str) -> tuple[tuple[int, int], ...]:
    """Returns the spans of a file whose output stands at its head or at its end."""
    start = GIB // 4 if first == "output" else GIB // 8
    layers = tuple((start + n * LAYER, start + (n + 1) * LAYER) for n in range(32))
    output = (0, GIB // 8) if first == "output" else (start + 32 * LAYER, start + 33 * LAYER)
    return (*layers, output)


def test_the_mapped_part_of_a_file_is_counted() -> None:
    at_end, at_head = (replace(SHAPE, unit_spans=spans(first)) for first in ("layers", "output"))
    assert mapped_bytes(at_end, 2) == 2 * LAYER
    assert mapped_bytes(at_head, 2) == GIB // 4 + 32 * LAYER  # output and the last layer
    assert mapped_bytes(SHAPE, 2) == 0  # not known
    host = mac_of(32, 28, 6)
    usual, wide = (plan_load(EngineConfig(), host, shape) for shape in (at_end, at_head))
    assert usual.memory
    assert wide.memory
    assert 10 < usual.n_gpu_layers < 33
    assert wide.n_gpu_layers == 1  # with one layer beside the output the whole file is wired
    unmapped = plan_load(EngineConfig(mmap=False), host, at_head)
    assert abs(unmapped.n_gpu_layers - usual.n_gpu_layers) <= 1
