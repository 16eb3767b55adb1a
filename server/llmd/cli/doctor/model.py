"""The model that the config names. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmd.cli.doctor.finding import Finding


@dataclass(frozen=True, slots=True)
class Model:
    """`problem`: why it can't be used, with what to do, as a sentence. `family`: empty where
    llama.cpp could not be asked."""

    name: str
    source: str  # of the name: default, file, environment
    path: str = ""
    n_bytes: int = 0
    architecture: str = ""
    problem: str = ""
    family: str = ""
    fault: str = ""  # how llama.cpp ended at it


def of_config(path: str, is_there: bool, problem: str) -> Finding:
    if problem:
        fix = "correct it; until then a running daemon keeps the old settings, and none starts"
        return Finding("model", "problem", problem, fix)
    if is_there:
        return Finding("model", "ok", f"Config `{path}` is good")
    return Finding("model", "ok", f"There is no config `{path}`: all has its default")


def of_model(model: Model) -> Iterator[Finding]:
    if model.problem:
        yield Finding("model", "problem", *_cut(model.problem))
        return
    if model.source == "environment":
        said = f"The model `{model.name}` is named by LLMD_MODEL, not by the config"
        fix = "unset it where editors should have the config's; they give it to the daemon"
        yield Finding("model", "note", said, fix)
    said = (
        f"`{model.path}`: {model.architecture}, {model.n_bytes / 1e9:.2f} GB, its header is whole"
    )
    yield Finding("model", "ok", said)
    yield from _of_infill(model)


def _of_infill(model: Model) -> Iterator[Finding]:
    if model.fault:
        said = f"llama.cpp cannot read the vocabulary of `{model.path}`: {model.fault}"
        yield Finding("model", "problem", said, "`llmd models` shows others; `llmd use NAME`")
    elif model.family == "plain":
        said = f"`{model.name}` has no FIM tokens: it cannot see what follows the cursor"
        fix = "choose one that was trained for infilling: `llmd models`, `llmd use NAME`"
        yield Finding("model", "note", said, fix)
    elif model.family:
        yield Finding("model", "ok", f"It infills, in the format of {model.family}")


def _cut(sentence: str) -> tuple[str, str]:
    """What is wrong, and what to do: our sentences have them in this order."""
    said, _, fix = sentence.rpartition("; ")
    return (said, fix) if said else (sentence, "`llmd models` shows models; `llmd use NAME`")
