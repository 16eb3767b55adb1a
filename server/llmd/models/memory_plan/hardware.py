"""Describes a machine for the memory plan. Sizes are in bytes. A size that is not known is 0, and
is then not checked."""

from __future__ import annotations

from dataclasses import dataclass, replace

GIB = 1 << 30
# Reserves for other programs. A desktop opens windows, and a driver allocates its own buffers.
_GPU_RESERVE_BYTES = GIB
_UNIFIED_RESERVE_BYTES = GIB // 2
_RAM_RESERVE_BYTES = GIB  # or 1/16 of the memory of a small machine
# Memory that macOS needs if `iogpu.wired_limit_mb` is raised: 1/16, within these bounds.
_MACOS_RESERVE_BYTES = 4 * GIB, 6 * GIB
_UNLIMITED_BYTES = 1 << 60


@dataclass(frozen=True, slots=True)
class Gpu:
    """Describes one GPU."""

    name: str
    free_bytes: int
    total_bytes: int = 0  # on Metal: the recommended working set
    api: str = ""  # ggml's name of the backend: MTL, CUDA, ROCm, Vulkan


@dataclass(frozen=True, slots=True)
class DescribedMachine:
    """Describes a machine's cores, memory and GPUs."""

    backend: str  # "cpu", "metal", "gpu"
    n_cores: int
    n_fast_cores: int = 0  # 0: all cores are of one kind
    ram_bytes: int = 0
    ram_free_bytes: int = 0
    gpus: tuple[Gpu, ...] = ()
    is_unified: bool = False  # CPU and GPU share their memory
    is_calm: bool = False  # macOS reports that its memory pressure is normal
    ram_wired_bytes: int = 0  # of macOS, which cannot be compressed
    built_for: tuple[str, ...] = ()  # GPU backends in this build of llama.cpp, by ggml's names
    gpu_problem: str = ""  # why these backends found no GPU
    variables: tuple[str, ...] = ()  # NAME=VALUE of the environment that choose or limit GPUs

    @property
    def api(self) -> str:
        """Returns ggml's name of the backend of the GPUs in use; empty: none, or not known."""
        return self.gpus[0].api if self.gpus else ""

    @property
    def is_known(self) -> bool:
        return self.ram_free_bytes > 0

    @property
    def ram_reserve_bytes(self) -> int:
        return min(_RAM_RESERVE_BYTES, self.ram_bytes // 16)

    @property
    def usable_ram_bytes(self) -> int:
        """May be negative."""
        return self.ram_free_bytes - self.ram_reserve_bytes

    def usable_gpu_bytes(self, with_reserve: bool = True) -> list[int]:
        """Returns the bytes that a model may use on each GPU."""
        reserve = _UNIFIED_RESERVE_BYTES if self.is_unified else _GPU_RESERVE_BYTES
        free_bytes = [max(0, gpu.free_bytes - reserve * with_reserve) for gpu in self.gpus]
        if self.is_unified:
            ram_bytes = max(0, self.ram_free_bytes - self.ram_reserve_bytes * with_reserve)
            free_bytes = [min(room, ram_bytes) for room in free_bytes]
        return free_bytes

    def with_memory_share(self, share: float) -> DescribedMachine:
        """Returns the machine with only a share of its free memory."""
        gpus = tuple(replace(gpu, free_bytes=int(gpu.free_bytes * share)) for gpu in self.gpus)
        return replace(self, ram_free_bytes=int(self.ram_free_bytes * share), gpus=gpus)

    def with_unlimited_memory(self) -> DescribedMachine:
        """Returns the machine with memory for any model, unless its memory is not known."""
        if not self.is_known:
            return self
        gpus = tuple(replace(gpu, free_bytes=_UNLIMITED_BYTES) for gpu in self.gpus)
        return replace(self, ram_free_bytes=_UNLIMITED_BYTES, gpus=gpus)

    def with_memory_made_free(self) -> DescribedMachine | None:
        """Returns a Mac with the memory that macOS makes free for a model by compressing that of
        other programs; None: it does not do so now without a delay for these programs."""
        if self.backend != "metal" or not self.is_calm:
            return None
        made_bytes = max_wired_limit_bytes(self.ram_bytes) - self.ram_wired_bytes
        return replace(self, ram_free_bytes=max(self.ram_free_bytes, made_bytes))

    def with_raised_wired_limit(self) -> DescribedMachine | None:
        """Returns a Mac with the highest safe wired limit, or None if the limit is that high."""
        if self.backend != "metal" or len(self.gpus) != 1:
            return None
        (gpu,), limit = self.gpus, max_wired_limit_bytes(self.ram_bytes)
        if limit <= gpu.total_bytes:
            return None
        free = gpu.free_bytes + limit - gpu.total_bytes
        return replace(self, gpus=(replace(gpu, free_bytes=free, total_bytes=limit),))


def max_wired_limit_bytes(ram_bytes: int) -> int:
    """Returns the highest wired limit of a Mac that leaves macOS enough memory."""
    minimum, maximum = _MACOS_RESERVE_BYTES
    return ram_bytes - min(max(minimum, ram_bytes // 16), maximum)
