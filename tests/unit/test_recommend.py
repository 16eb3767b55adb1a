"""Estimates and recommendations by machine: fit, quantisation, model and speed."""

from __future__ import annotations

import pytest
from tests.unit.test_planner_machines import shape

from llmd.config import EngineConfig
from llmd.models.catalog import catalog
from llmd.models.catalog_schema import Entry, Variant
from llmd.models.decode_speed import nominal_bandwidth, tokens_per_s
from llmd.models.memory_plan import DescribedMachine, Gpu
from llmd.models.recommend import (
    HostResources,
    best_model,
    best_quantisation,
    estimate,
    estimate_variant,
)

GB = 10**9


def metal(total_gb: int, chip: str) -> HostResources:
    free = total_gb * GB * 3 // 4
    gpus = (Gpu(chip, free, free),)
    machine = DescribedMachine(
        "metal", 8, 4, total_gb * GB, total_gb * GB * 4 // 5, gpus, is_unified=True
    )
    return HostResources(machine, nominal_bandwidth(chip) or 0)


def card(gb: int, name: str) -> HostResources:
    machine = DescribedMachine("gpu", 8, 0, 64 * GB, 48 * GB, (Gpu(name, gb * GB, gb * GB),))
    return HostResources(machine, nominal_bandwidth(name) or 0)


def cpu(gb: int, gb_per_s: float) -> HostResources:
    return HostResources(DescribedMachine("cpu", 4, 0, gb * GB, gb * GB * 3 // 4), gb_per_s * GB)


AIR, ULTRA = metal(8, "Apple M1"), metal(128, "Apple M1 Ultra")
RTX, LAPTOP = card(24, "NVIDIA GeForce RTX 3090"), cpu(16, 40)


def take(name: str, host: HostResources) -> str:
    return best_quantisation(catalog()[name], host, EngineConfig())[0].quantisation


def variant_of(name: str, quantisation: str) -> tuple[Entry, Variant]:
    entry = catalog()[name]
    return entry, next(v for v in entry.variants if v.quantisation == quantisation)


@pytest.mark.parametrize(
    ("name", "host", "quantisation"),
    [
        ("qwen2.5-coder-1.5b", AIR, "Q8_0"),  # 1.6 GB: small enough to lose nothing
        ("qwen2.5-coder-7b", LAPTOP, "Q4_0"),  # a CPU reads it fastest
        ("qwen2.5-coder-1.5b", LAPTOP, "Q4_K_M"),  # Q8_0 is slow there
        ("qwen2.5-coder-7b", RTX, "Q5_K_M"),  # 5.4 of 24 GB
        ("qwen2.5-coder-14b", card(12, "RTX 3060"), "Q4_K_M"),  # Q5_K_M is 10.5 of 12 GB
        ("codestral-22b", card(14, "RTX 4080"), "Q3_K_M"),  # 11.1 GB squeezed in
        ("granite-code-8b", RTX, "Q4_K_M"),  # the only one there is
        ("qwen2.5-coder-0.5b", LAPTOP, "Q8_0"),
    ],
)
def test_the_quantisation_to_take(name: str, host: HostResources, quantisation: str) -> None:
    assert take(name, host) == quantisation


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (AIR, "qwen2.5-coder-1.5b"),  # a 3b may not be sold, a 7b in Q3_K_M would decode at 13 a s
        (metal(16, "Apple M1 Pro"), "qwen2.5-coder-7b"),  # in Q4_K_M, 31 a second
        (RTX, "qwen2.5-coder-32b"),
        (cpu(16, 20), None),  # the smallest would decode at 32 a second, and prefill so too
        (LAPTOP, "qwen2.5-coder-0.5b"),
        (cpu(64, 300), "qwen2.5-coder-1.5b"),
    ],
)
def test_the_model_to_propose(host: HostResources, name: str | None) -> None:
    """The best score that is whole in memory, fast enough, and free for any use."""
    best = best_model([*catalog().values()], host, EngineConfig())
    assert (best[0].name if best else None) == name


def test_a_model_that_is_too_large_does_not_fit() -> None:
    entry, variant = variant_of("qwen2.5-coder-32b", "Q8_0")
    assert not estimate_variant(entry, variant, AIR, EngineConfig()).fits
    assert (
        best_quantisation(entry, AIR, EngineConfig())[1]
        == "the smallest, but too large for this machine"
    )


def test_layers_that_do_not_fit_on_a_card_stay_on_the_cpu() -> None:
    entry, variant = variant_of("qwen2.5-coder-32b", "Q4_K_M")
    estimated = estimate_variant(entry, variant, card(12, "RTX 3060"), EngineConfig())
    assert estimated.fits
    assert not estimated.is_whole
    assert 0 < estimated.n_gpu_layers < estimated.n_layers == 64
    assert estimated.tokens_per_s == 0  # nobody can tell


def test_idle_experts_are_not_read() -> None:
    """30 billion weights of which 3.3 work are faster than 14 billion that all do."""
    sparse = estimate_variant(*variant_of("qwen3-coder-30b-a3b", "Q4_K_M"), ULTRA, EngineConfig())
    dense = estimate_variant(*variant_of("qwen2.5-coder-14b", "Q4_K_M"), ULTRA, EngineConfig())
    assert sparse.n_bytes > dense.n_bytes
    assert sparse.tokens_per_s > 2 * dense.tokens_per_s


# Llama-2-7B of llama.cpp's discussions #4167 and #15013: Q4_0 3.83 GB, Q8_0 7.16 GB, 32 layers.
@pytest.mark.parametrize(
    ("chip", "backend", "n_gb", "measured"),
    [
        ("Apple M1", "metal", 3.83, 14.2),
        ("Apple M1 Pro", "metal", 3.83, 36.4),
        ("Apple M1 Pro", "metal", 7.16, 22.3),
        ("Apple M1 Max", "metal", 3.83, 61.2),
        ("Apple M1 Ultra", "metal", 3.83, 83.7),
        ("Apple M1 Ultra", "metal", 7.16, 59.9),
        ("Apple M2", "metal", 3.83, 21.9),
        ("Apple M2 Ultra", "metal", 3.83, 94.3),
        ("Apple M3 Max", "metal", 3.83, 66.3),
        ("NVIDIA GeForce RTX 4090", "gpu", 3.83, 186),
        ("NVIDIA GeForce RTX 3090", "gpu", 3.83, 158),
    ],
)
def test_the_expected_speed_is_near_what_was_measured(
    chip: str, backend: str, n_gb: float, measured: float
) -> None:
    bytes_per_s = nominal_bandwidth(chip)
    assert bytes_per_s is not None
    assert tokens_per_s(n_gb * GB, bytes_per_s, backend, 32) == pytest.approx(measured, rel=0.17)


def test_an_unknown_chip_has_no_nominal_bandwidth() -> None:
    assert nominal_bandwidth("Intel(R) Xeon(R) CPU") is None


@pytest.mark.parametrize(
    ("chip", "gb_per_s"),
    [
        ("NVIDIA GeForce RTX 4090", 1008),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 576),
        ("NVIDIA GeForce RTX 3060 Ti", 448),
        ("NVIDIA GeForce RTX 3060", 360),
        ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 256),
        ("NVIDIA A100-SXM4-80GB", 1935),
    ],
)
def test_a_name_with_more_to_it_is_another_chip(chip: str, gb_per_s: int) -> None:
    assert nominal_bandwidth(chip) == gb_per_s * GB


def test_apple_s_chips_are_known() -> None:
    assert nominal_bandwidth("Apple M1 Ultra") == 800 * GB


@pytest.mark.parametrize(
    ("name", "quantisation", "described"),
    [
        ("qwen2.5-coder-7b", "Q4_K_M", "coder-7b"),
        ("qwen2.5-coder-32b", "Q4_K_M", "coder-32b"),
        ("codestral-22b", "Q4_K_M", "codestral-22b"),
        ("codellama-13b", "Q4_K_M", "codellama-13b"),
        ("qwen3-coder-30b-a3b", "Q4_K_M", "coder-30b-a3b"),
    ],
)
@pytest.mark.parametrize("host", [ULTRA, cpu(64, 90)], ids=["metal", "cpu"])
def test_estimates_from_catalog_and_header_agree(
    name: str, quantisation: str, described: str, host: HostResources
) -> None:
    by_catalog = estimate_variant(*variant_of(name, quantisation), host, EngineConfig())
    by_header = estimate(shape(described), host, EngineConfig())
    assert by_catalog.n_bytes == pytest.approx(by_header.n_bytes, rel=0.05)
