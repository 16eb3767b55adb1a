"""Whether another model is loaded beside the one in use: by machine, shape and what is loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from tests.support import gguf_bytes
from tests.unit.test_planner_machines import GIB, shape

from llmd.config import EngineConfig
from llmd.engine import candidate_worker
from llmd.engine.messages import Loaded
from llmd.models.memory_plan import DescribedMachine, Gpu, fits_in_full

INFO = Loaded(
    "m", "plain", "psm", "F16", "cpu", 512, 9, 0, "q4_0", "f16", False, 64, 1, 1 << 20, ""
)


def here(
    backend: str, ram: float, ram_free: float, *free: float, unified: bool = False
) -> DescribedMachine:
    """In GiB; what is free is what the model in use leaves."""
    gpus = tuple(Gpu("a", round(n * GIB), 24 * GIB) for n in free)
    is_unified = unified or backend == "metal"
    return DescribedMachine(backend, 8, 0, ram * GIB, round(ram_free * GIB), gpus, is_unified)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("machine", "model", "fits"),
    [
        # 4.68 GB of weights, 0.24 beside them, 1 GiB of reserve: 5.5 GiB
        (here("cpu", 16, 5.7), "coder-7b", True),
        (here("cpu", 16, 5.3), "coder-7b", False),
        (here("cpu", 0, 0), "coder-7b", True),  # nothing is known
        # the GPU's part is the machine's: 4.42 and 0.33 on it, 0.45 beside, and the reserve
        (here("metal", 64, 40, 30), "coder-7b", True),
        (here("metal", 64, 5, 30), "coder-7b", False),  # the machine has not enough
        (here("metal", 64, 40, 4.4), "coder-7b", False),  # the wired limit leaves not enough
        (here("gpu", 128, 60, 60, unified=True), "coder-30b-a3b", True),
        # 4.75 on the card, 1 GiB of reserve there: 5.5 GiB
        (here("gpu", 32, 20, 5.7), "coder-7b", True),
        (here("gpu", 32, 20, 5.3), "coder-7b", False),  # fewer layers, or a smaller batch
        (here("gpu", 32, 20, 12, 12), "coder-32b", True),
        (here("gpu", 32, 1, 23), "coder-7b", False),  # no room for the worker and the mapped file
    ],
)
def test_it_fits_beside_where_nothing_has_to_shrink(
    machine: DescribedMachine, model: str, fits: bool
) -> None:
    assert fits_in_full(EngineConfig(), machine, shape(model)) is fits


def test_a_context_that_the_user_set_counts() -> None:
    machine = here("gpu", 64, 40, 6)
    assert fits_in_full(EngineConfig(), machine, shape("coder-7b"))
    assert not fits_in_full(EngineConfig(n_ctx=1 << 17), machine, shape("coder-7b"))


def test_what_is_loaded_tells_what_the_user_set() -> None:
    assert candidate_worker.engine_options(INFO) == EngineConfig(n_gpu_layers=0)
    told = msgspec.structs.replace(
        INFO, n_ctx=8192, n_gpu_layers=9, cache_type_k="f16", cache_type_v="f16"
    )
    wished = EngineConfig(n_ctx=8192, cache_type_k="f16", cache_type_v="f16")
    assert candidate_worker.engine_options(told) == wished


@pytest.mark.parametrize(
    ("said", "n_gpu_layers", "has_room"),
    [
        (here("gpu", 32, 20, 8), 9, True),
        (here("gpu", 32, 20, 0.5), 9, False),
        (here("gpu", 32, 20, 8), 4, False),  # the one in use is not whole on it either
        (None, 9, False),
    ],
)
def test_a_gpu_is_asked_for_in_a_process_of_its_own(
    said: DescribedMachine | None,
    n_gpu_layers: int,
    has_room: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = msgspec.json.encode(said).decode() if said else "Segmentation fault"
    monkeypatch.setattr(candidate_worker, "_DESCRIBE", (sys.executable, "-c", f"print({words!r})"))
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes.tiny().encode())
    info = msgspec.structs.replace(INFO, backend="gpu", n_gpu_layers=n_gpu_layers)
    assert candidate_worker.has_room(path, info) is has_room


@pytest.mark.parametrize(("planned_gib", "has_room"), [(4, True), (12, False)])
def test_what_is_in_use_has_its_share_of_the_wired_limit(
    planned_gib: int, has_room: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metal says in each process that all 12 GiB are free."""
    monkeypatch.setattr(candidate_worker, "_query_machine", lambda: here("metal", 18, 15, 12))
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes.tiny().encode())
    info = msgspec.structs.replace(
        INFO, backend="metal", n_gpu_layers=9, planned_bytes=planned_gib * GIB
    )
    assert candidate_worker.has_room(path, info) is has_room


def test_this_machine_is_described_as_the_worker_sees_it() -> None:
    described = candidate_worker._query_machine()
    assert described
    assert described.ram_free_bytes > 0
