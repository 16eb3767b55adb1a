"""Formats what `llmd models` prints: tables that fit a terminal, and JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from llmd.errors import format_bytes, printable
from llmd.models.listing import ModelRow
from llmd.models.recommend import FitEstimate

_HEAD = ("name", "quant", "size", "fits", "memory", "tokens/s", "family", "licence")
_FOOTER = """\
Use Q4_K_M or Q5_K_M in general, Q3_K_M if nothing else fits, Q4_0 on a CPU, Q8_0 for small models.
`llmd models NAME` shows one model in each quantisation, `llmd pull` proposes a model."""


def overview(
    installed: Sequence[ModelRow], pullable: Sequence[ModelRow], path_in_use: str = ""
) -> str:
    """Formats both tables. A star marks the model in use."""
    blocks = []
    if installed:
        table = columns([_HEAD, *(_cells(row, row.path == path_in_use) for row in installed)])
        problems = [f"{shown_name(row.name)}: {row.problem}" for row in installed if row.problem]
        blocks.append("\n".join(["On this machine", table, *map(printable, problems)]))
    table = columns([_HEAD, *(_cells(row) for row in pullable)])
    blocks.append(f"To pull, in the best quantisation for this machine\n{table}")
    return "\n\n".join([*blocks, _FOOTER])


def one_model(rows: Sequence[ModelRow], advised: ModelRow) -> str:
    """Formats a model in each quantisation. A star marks the advised one."""
    table = columns([_HEAD, *(_cells(row, row.name == advised.name) for row in rows)])
    return f"{advised.use}\n\n{table}\n\nTake {advised.quantisation}: {advised.why}."


def row_as_json(row: ModelRow) -> dict[str, Any]:
    """Returns the object of a row, with the keys of docs/PROTOCOL.md."""
    fields = asdict(row)
    fields["size_bytes"] = fields.pop("n_bytes")
    if row.suit:
        fields["suit"]["memory_bytes"] = fields["suit"].pop("n_bytes")
        fields["suit"]["tokens_per_s"] = round(row.suit.tokens_per_s, 1)
    return fields


def proposal(row: ModelRow) -> str:
    speed = f", about {row.suit.tokens_per_s:.0f} tokens/s" if row.suit else ""
    size = f"{_size(row.n_bytes, row.is_exact)}, " if row.n_bytes else ""
    return f"{row.name} ({row.quantisation}, {size}licence {row.licence}{speed})"


def shown_name(name: str) -> str:
    """Shortens the home folder of a path to `~`, which `llmd use` accepts."""
    home = os.path.expanduser("~/")
    return f"~/{name.removeprefix(home)}" if name.startswith(home) else name


def columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{printable(cell):{width}}" for cell, width in zip(row, widths, strict=True))
        .rstrip()
        for row in rows
    )  # fmt: skip


def _cells(row: ModelRow, is_marked: bool = False) -> tuple[str, ...]:
    name = f"{'*' if is_marked else ' '} {shown_name(row.name)}"
    fits, memory = "no" if row.problem else "?", ""
    if row.suit and not row.problem:
        fits, memory = _fits(row.suit), _size(row.suit.n_bytes)
    size = _size(row.n_bytes, row.is_exact)
    licence = row.licence or row.where
    return name, row.quantisation, size, fits, memory, _speed(row), row.family, licence


def _size(n_bytes: int, is_exact: bool = True) -> str:
    if n_bytes < 1e6:
        return "<1 MB" if n_bytes else "?"
    return f"{'' if is_exact else '~'}{format_bytes(n_bytes)}"


def _fits(fit: FitEstimate) -> str:
    if not fit.fits:
        return "no"
    if fit.n_gpu_layers and fit.n_gpu_layers < fit.n_layers:
        return f"{fit.n_gpu_layers} of {fit.n_layers} layers"
    return f"yes, {fit.n_ctx} ctx"


def _speed(row: ModelRow) -> str:
    if row.measured_tokens_per_s:
        return f"{row.measured_tokens_per_s:.0f} measured"
    n = row.suit.tokens_per_s if row.suit else 0.0
    return f"~{n:.0f}" if n >= 1 else "<1" if n else ""
