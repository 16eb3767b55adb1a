"""A machine as the plan sees it. Sizes in bytes; 0 where nothing is known, and then nothing is
checked."""

from __future__ import annotations

from dataclasses import dataclass, replace

GIB = 1 << 30
# Left to others on a GPU: a desktop opens windows, a driver takes buffers of its own.
GPU_RESERVE_BYTES = GIB
UNIFIED_RESERVE_BYTES = GIB // 2
# Left in memory, at most; a sixteenth of a small machine's.
RAM_RESERVE_BYTES = GIB
# What macOS itself needs once `iogpu.wired_limit_mb` is raised: a sixteenth, between these.
MACOS_RESERVE_BYTES = 4 * GIB, 6 * GIB
_UNLIMITED_BYTES = 1 << 60


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    free_bytes: int
    total_bytes: int = 0  # for Metal: the recommended working set


@dataclass(frozen=True, slots=True)
class DescribedMachine:
    backend: str  # "cpu", "metal", "gpu"
    n_cores: int
    n_fast_cores: int = 0  # 0: all are alike
    ram_bytes: int = 0
    ram_free_bytes: int = 0
    gpus: tuple[Gpu, ...] = ()
    is_unified: bool = False  # the GPU's memory is part of the machine's

    @property
    def is_known(self) -> bool:
        return self.ram_free_bytes > 0

    @property
    def ram_reserve_bytes(self) -> int:
        return min(RAM_RESERVE_BYTES, self.ram_bytes // 16)

    def usable_gpu_bytes(self, with_reserve: bool = True) -> list[int]:
        """What may be put on each GPU."""
        reserve = UNIFIED_RESERVE_BYTES if self.is_unified else GPU_RESERVE_BYTES
        free_bytes = [max(0, gpu.free_bytes - reserve * with_reserve) for gpu in self.gpus]
        if self.is_unified:
            ram_bytes = max(0, self.ram_free_bytes - self.ram_reserve_bytes * with_reserve)
            free_bytes = [min(room, ram_bytes) for room in free_bytes]
        return free_bytes

    def with_memory_share(self, share: float) -> DescribedMachine:
        """With so much of its free memory."""
        gpus = tuple(replace(gpu, free_bytes=int(gpu.free_bytes * share)) for gpu in self.gpus)
        return replace(self, ram_free_bytes=int(self.ram_free_bytes * share), gpus=gpus)

    def with_unlimited_memory(self) -> DescribedMachine:
        """With room for anything; where nothing is known, as it is."""
        if not self.is_known:
            return self
        gpus = tuple(replace(gpu, free_bytes=_UNLIMITED_BYTES) for gpu in self.gpus)
        return replace(self, ram_free_bytes=_UNLIMITED_BYTES, gpus=gpus)

    def with_raised_wired_limit(self) -> DescribedMachine | None:
        """With the wired limit of a Mac as high as it should go; None where that is no more."""
        if self.backend != "metal" or len(self.gpus) != 1:
            return None
        least, most = MACOS_RESERVE_BYTES
        (gpu,), limit = self.gpus, self.ram_bytes - min(max(least, self.ram_bytes // 16), most)
        if limit <= gpu.total_bytes:
            return None
        free = gpu.free_bytes + limit - gpu.total_bytes
        return replace(self, gpus=(replace(gpu, free_bytes=free, total_bytes=limit),))
