"""What `llmd models` prints: tables that fit a terminal, and JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from llmd.errors import format_bytes, printable
from llmd.models.installed import ModelRow
from llmd.models.recommend import FitEstimate

_HEAD = ("name", "quant", "size", "fits", "memory", "tokens/s", "family", "licence")
_RULE = (
    "Q4_K_M or Q5_K_M in general, Q3_K_M to squeeze a model in, Q4_0 on a CPU, Q8_0 where a model"
    " is small."
)


def overview(here: Sequence[ModelRow], to_pull: Sequence[ModelRow], in_use: str) -> str:
    blocks = []
    if here:
        rows = [_cells(line, in_use) for line in here]
        blocks.append(f"On this machine\n{columns([_HEAD, *rows])}{_problems(here)}")
    rows = [_cells(line, "") for line in to_pull]
    blocks.append(f"To pull, in the quantisation to take here\n{columns([_HEAD, *rows])}")
    blocks.append(f"{_RULE}\n`llmd models NAME` shows all of one, `llmd pull` proposes one.")
    return "\n\n".join(blocks)


def one_model(lines: Sequence[ModelRow], advised: ModelRow) -> str:
    rows = [_cells(line, advised.name) for line in lines]
    take = f"Take {advised.quantisation}: {advised.why}."
    return f"{advised.use}\n\n{columns([_HEAD, *rows])}\n\n{take}"


def row_as_json(line: ModelRow) -> dict[str, Any]:
    """docs/PROTOCOL.md has its keys."""
    found = asdict(line)
    found["size_bytes"] = found.pop("n_bytes")
    if line.suit:
        found["suit"]["memory_bytes"] = found["suit"].pop("n_bytes")
        found["suit"]["tokens_per_s"] = round(line.suit.tokens_per_s, 1)
    return found


def proposal(line: ModelRow) -> str:
    """One question's worth of facts."""
    speed = f", about {line.suit.tokens_per_s:.0f} tokens/s" if line.suit else ""
    return f"{line.name} ({line.quantisation}, {_size(line)}, licence {line.licence}{speed})"


def columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{printable(cell):{width}}" for cell, width in zip(row, widths, strict=True))
        .rstrip()
        for row in rows
    )  # fmt: skip


def _cells(line: ModelRow, marked: str) -> tuple[str, ...]:
    name = f"{'*' if line.name == marked else ' '} {line.name}"
    suit = line.suit
    if line.problem or suit is None:
        fits, memory = "no" if line.problem else "?", ""
    else:
        fits, memory = _fits(suit), format_bytes(suit.n_bytes)
    licence = line.licence or line.where
    return name, line.quantisation, _size(line), fits, memory, _speed(line), line.family, licence


def _size(line: ModelRow) -> str:
    return f"{'' if line.is_exact else '~'}{format_bytes(line.n_bytes)}"


def _fits(suit: FitEstimate) -> str:
    if not suit.fits:
        return "no"
    if suit.n_gpu_layers and suit.n_gpu_layers < suit.n_layers:
        return f"{suit.n_gpu_layers} of {suit.n_layers} layers"
    return f"yes, {suit.n_ctx} ctx"


def _speed(line: ModelRow) -> str:
    if line.measured_tokens_per_s:
        return f"{line.measured_tokens_per_s:.0f} measured"
    return f"~{line.suit.tokens_per_s:.0f}" if line.suit and line.suit.tokens_per_s else ""


def _problems(lines: Sequence[ModelRow]) -> str:
    said = [f"\n{line.name}: {line.problem}" for line in lines if line.problem]
    return "".join(map(printable, said))
