"""Compares the plans for described machines with the calculations in tests/data/machines.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmd.config import EngineConfig
from llmd.errors import ModelError
from llmd.models.memory_plan import DescribedMachine, Gpu, LoadPlan, Shape, explain_plan, plan_load

DATA = tomllib.loads((Path(__file__).parents[1] / "data" / "machines.toml").read_text())
GIB, GB = 1 << 30, 10**9
CASES = {each["name"]: each for each in DATA["machine"]}


def shape(name: str) -> Shape:
    row = DATA["model"][name]
    row = {**DATA["model"].get(row.get("like"), {}), **row}
    first = row.get("first_layers_gb", [])
    layers = [*first, *[row["layer_gb"]] * (row["layers"] - len(first))]
    return Shape(
        n_layers=row["layers"],
        n_head_kv=row["heads_kv"],
        head_dim=row["key_dim"],
        n_ctx_train=1 << 15,
        value_dim=row.get("value_dim", 0),
        n_head=row["heads"],
        n_embd=row["embd"],
        n_ff=row["ff"],
        n_vocab=row["vocab"],
        is_mla=row.get("mla", False),
        n_experts=row.get("experts", 0),
        layer_bytes=tuple(round(gb * GB) for gb in layers),
        input_bytes=round(row["input_gb"] * GB),
        output_bytes=round(row.get("output_gb", 0) * GB),
        largest_bytes=round(row["largest_gb"] * GB),
    )


def machine(row: dict[str, Any]) -> DescribedMachine:
    return DescribedMachine(
        backend=row["backend"],
        n_cores=row["cores"],
        n_fast_cores=row.get("fast_cores", 0),
        ram_bytes=round(row["ram_gib"] * GIB),
        ram_free_bytes=round(row["ram_free_gib"] * GIB),
        gpus=tuple(Gpu("a", *[round(gib * GIB)] * 2) for gib in row.get("gpus_gib", [])),
        is_unified=row.get("unified", row["backend"] == "metal"),
    )


def engine(row: dict[str, Any]) -> EngineConfig:
    return msgspec.convert(row.get("config", {}), EngineConfig)


def decisions(row: dict[str, Any], plan: LoadPlan) -> dict[str, Any]:
    """Returns the plan's decisions under the names in `expect`."""
    memory = plan.memory
    assert memory
    lines = explain_plan(engine(row), machine(row), shape(row["model"]), plan)
    return {
        "layers": sum(memory.units_per_gpu),
        "n_ctx": plan.n_ctx,
        "n_batch": plan.n_batch,
        "n_ubatch": plan.n_ubatch,
        "threads": plan.threads,
        "kv_gb": round(plan.kv_bytes / GB, 1),
        "ram_gb": memory.ram_bytes / GB,
        "n_gpus": sum(n > 0 for n in memory.units_per_gpu),
        "most_on_one": max(memory.units_per_gpu, default=0),
        "says": "\n".join(lines),
    }


def test_there_are_at_least_twenty() -> None:
    assert len(CASES) == len(DATA["machine"]) >= 20


@pytest.mark.parametrize("row", CASES.values(), ids=CASES)
def test_a_machine_is_planned_as_calculated(row: dict[str, Any]) -> None:
    expect = row["expect"]
    if refused := expect.get("refused"):
        with pytest.raises(ModelError) as error:
            plan_load(engine(row), machine(row), shape(row["model"]), "a.gguf")
        assert refused in str(error.value)
        return
    got = decisions(row, plan_load(engine(row), machine(row), shape(row["model"])))
    assert expect.pop("says", "") in got["says"]
    ram_gb = expect.pop("ram_gb", got["ram_gb"])
    assert got["ram_gb"] == pytest.approx(ram_gb, rel=0.01)
    assert {key: got[key] for key in expect} == expect
