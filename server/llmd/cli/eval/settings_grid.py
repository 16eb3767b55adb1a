"""Builds the settings that an evaluation compares. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Anchor = Literal["", "line", "start"]  # "": llmd's own
EmulatedClient = Literal["", "vim", "vscode", "vim-greedy"]

PIPELINE = "llmd"
# What does not affect the prompt of a bare model.
_NOT_BARE = ("fim.typed=", "fim.heal=", "completion.max_lines=")
_NOT_BARE_WORDS = ("typed=", "heal=", "without=", "anchor=")


@dataclass(frozen=True, slots=True)
class EvalSetting:
    """Describes one way to complete. `flags` are KEY=VALUE and override the user's config.
    `is_bare`: the model without llmd's rules. `client`: a llama-server at `url` in place of llmd,
    with the requests of that client."""

    name: str
    flags: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    anchor: Anchor = ""
    is_bare: bool = False
    client: EmulatedClient = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class SettingAxis:
    """Holds the values of one thing that varies. `key` is a config key, `without` or `anchor`."""

    key: str
    label: str
    values: tuple[str, ...]


def settings(
    axes: Sequence[SettingAxis], model: str = "", with_bare: bool = False
) -> list[EvalSetting]:
    """Returns every combination, with the first values first; then the bare models, once each."""
    combinations = itertools.product(*(axis.values for axis in axes))
    grid = [_build_setting(axes, values, model) for values in combinations]
    return [*grid, *dict.fromkeys(map(_to_bare, grid))] if with_bare else grid


def llama_server_settings(url: str, clients: Sequence[EmulatedClient]) -> list[EvalSetting]:
    return [EvalSetting(f"llama-server, {client}", client=client, url=url) for client in clients]


def _build_setting(axes: Sequence[SettingAxis], values: Sequence[str], model: str) -> EvalSetting:
    setting = EvalSetting(PIPELINE, (f"model={model}",) if model else ())
    words = []
    for axis, value in zip(axes, values, strict=True):
        if axis.key == "without":
            setting = replace(setting, without=frozenset(filter(None, value.split("+"))))
        elif axis.key == "anchor":
            setting = replace(setting, anchor=value)  # type: ignore[arg-type]
        else:
            setting = replace(setting, flags=(*setting.flags, f"{axis.key}={value}"))
        if len(axis.values) > 1 and value:
            words.append(f"{axis.label}={value}")
    return replace(setting, name=" ".join(words) or PIPELINE)


def _to_bare(setting: EvalSetting) -> EvalSetting:
    flags = tuple(flag for flag in setting.flags if not flag.startswith(_NOT_BARE))
    words = [
        word
        for word in setting.name.split(" ")
        if not word.startswith(_NOT_BARE_WORDS) and word != PIPELINE
    ]
    return EvalSetting(" ".join(["bare", *words]), flags, is_bare=True)
