"""The list that scenarios put themselves on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.editors.world import World

Model = Literal["real", "fixed"]


@dataclass(frozen=True)
class Scenario:
    name: str
    model: Model
    run: Callable[[World], None]


SCENARIOS: list[Scenario] = []


def scenario(model: Model) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def add(run: Callable[[World], None]) -> Callable[[World], None]:
        SCENARIOS.append(Scenario(run.__name__, model, run))
        return run

    return add
