"""The table of docs/MODELS.md is what `llmd pull` would propose on these machines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmd.config import EngineConfig
from llmd.models.catalog import catalog
from llmd.models.decode_speed import nominal_bandwidth
from llmd.models.memory_plan import DescribedMachine, Gpu
from llmd.models.recommend import HostResources, best_model, estimate_variant

PAGE = Path(__file__).resolve().parents[2] / "docs" / "MODELS.md"
GIB = 1 << 30
ROWS = re.findall(
    r"^\| ((?:CPU|M\d|RTX|RX|Ryzen).*?) \| (\S+) \| (\S+) \| (.*?)\| (.*?)\|$",
    PAGE.read_text(),
    re.M,
)


def room_of(machine: str) -> HostResources:
    """Three quarters of memory are free; of a card all but half a GiB."""
    if found := re.match(r"CPU, (\d+) GB/s", machine):
        return HostResources(DescribedMachine("cpu", 8, 0, 16 * GIB, 12 * GIB), int(found[1]) * 1e9)
    chip, size = machine.removesuffix(" GB").rsplit(", ", 1)
    total, free = int(size) * GIB, int(size) * GIB * 3 // 4
    if chip.startswith("M"):
        chip = f"Apple {chip}"
        wired = total * 2 // 3 if total <= 36 * GIB else free
        here = DescribedMachine("metal", 8, 4, total, free, (Gpu(chip, wired, wired),), True)
    elif chip.startswith("Ryzen"):
        here = DescribedMachine("gpu", 16, 0, total, free, (Gpu(chip, free, free),), True)
    else:
        card = Gpu(chip, total - GIB // 2, total)
        here = DescribedMachine("gpu", 8, 0, 32 * GIB, 24 * GIB, (card,))
    return HostResources(here, nominal_bandwidth(chip) or 0.0)


def test_the_table_was_found() -> None:
    assert len(ROWS) == 13


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_is_what_is_proposed(row: tuple[str, ...]) -> None:
    machine, model, quantisation, memory, speed = (cell.strip() for cell in row)
    room = room_of(machine)
    best = best_model([*catalog().values()], room, EngineConfig())
    if best is None:
        assert model == "builtin"
        return
    entry, variant, _ = best
    suits = estimate_variant(entry, variant, room, EngineConfig())
    assert (model, quantisation) == (entry.name, variant.quantisation)
    assert memory == f"{suits.n_bytes / 1e9:.1f} GB"
    assert speed == f"{suits.tokens_per_s:.0f}"
