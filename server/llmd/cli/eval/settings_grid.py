"""The settings that are compared: each a way to answer at a place. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Anchor = Literal["", "line", "start"]  # "": the product's own
EmulatedClient = Literal["", "vim", "vscode", "vim-greedy"]

PIPELINE = "llmd"


@dataclass(frozen=True, slots=True)
class EvalSetting:
    """`flags` are KEY=VALUE, over the user's config. `is_bare`: the model without our rules.
    `client`: not llmd but a llama-server at `url`, asked as that client asks."""

    name: str
    flags: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    anchor: Anchor = ""
    is_bare: bool = False
    client: EmulatedClient = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class SettingAxis:
    """One thing that varies. `key` is a config key, or `without` or `anchor`."""

    key: str
    label: str
    values: tuple[str, ...]


def settings(
    axes: Sequence[SettingAxis], model: str = "", with_bare: bool = False
) -> list[EvalSetting]:
    """Every combination, the first of each axis first; then the bare model in each of its ways."""
    ways = [
        _build_setting(axes, values, model) for values in itertools.product(*map(_values, axes))
    ]
    if not with_bare:
        return ways
    bare = {_to_bare(way): None for way in ways}
    return [*ways, *bare]


def llama_server_settings(url: str, clients: Sequence[EmulatedClient]) -> list[EvalSetting]:
    return [EvalSetting(f"llama-server, {client}", client=client, url=url) for client in clients]


def _values(axis: SettingAxis) -> tuple[str, ...]:
    return axis.values


def _build_setting(axes: Sequence[SettingAxis], values: Sequence[str], model: str) -> EvalSetting:
    made = EvalSetting(PIPELINE, (f"model={model}",) if model else ())
    said = []
    for axis, value in zip(axes, values, strict=True):
        if axis.key == "without":
            made = replace(made, without=frozenset(filter(None, value.split("+"))))
        elif axis.key == "anchor":
            made = replace(made, anchor=value)  # type: ignore[arg-type]
        else:
            made = replace(made, flags=(*made.flags, f"{axis.key}={value}"))
        if len(axis.values) > 1 and value:
            said.append(f"{axis.label}={value}")
    return replace(made, name=" ".join(said) or PIPELINE)


# What does not reach a bare model's prompt.
_NOT_BARE = ("fim.typed=", "fim.heal=", "completion.max_lines=")


def _to_bare(way: EvalSetting) -> EvalSetting:
    flags = tuple(flag for flag in way.flags if not flag.startswith(_NOT_BARE))
    words = [
        word
        for word in way.name.split(" ")
        if not word.startswith(("typed=", "heal=", "without=", "anchor=")) and word != PIPELINE
    ]
    return EvalSetting(" ".join(["bare", *words]), flags, is_bare=True)
