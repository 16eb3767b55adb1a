"""Determines the memory bandwidth of this machine: by the name of its chip, or else measured."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from llmd import machine
from llmd.machine import cpu_name
from llmd.models import memory_plan
from llmd.models.decode_speed import READ_SHARE, nominal_bandwidth
from llmd.models.recommend import HostResources

Bytes = npt.NDArray[np.uint8]

_TRIAL_BYTES, _N_TRIALS = 32 << 20, 3


def host_resources(machine: memory_plan.DescribedMachine) -> HostResources:
    chips = [gpu.name for gpu in machine.gpus] or [cpu_name()]
    known = [found for chip in chips if (found := nominal_bandwidth(chip))]
    return HostResources(machine, min(known) if known else _unnamed_bytes_per_s(machine))


def _unnamed_bytes_per_s(described: memory_plan.DescribedMachine) -> float:
    """Measures the bandwidth of a chip that is not in the table. Returns 0 for a separate GPU, as
    the GPU's memory cannot be measured here."""
    return 0.0 if described.gpus and not described.is_unified else measure_bytes_per_s()


def measure_bytes_per_s() -> float:
    """Estimates the nominal bandwidth from copies by all cores, which read and write."""
    n_cores = machine.n_cores()
    source = np.ones((n_cores, _TRIAL_BYTES), np.uint8)
    target = np.empty_like(source)
    with ThreadPoolExecutor(n_cores) as pool:
        best_s = min(_time_copy_s(pool, target, source) for _ in range(_N_TRIALS))
    return 2 * source.nbytes / best_s / READ_SHARE


def _time_copy_s(pool: ThreadPoolExecutor, target: Bytes, source: Bytes) -> float:
    start_s = time.perf_counter()
    list(pool.map(np.copyto, target, source))
    return time.perf_counter() - start_s
