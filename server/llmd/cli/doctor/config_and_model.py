"""Checks the config file and the model that the config names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from llmd.cli.doctor.finding import Finding
from llmd.cli.doctor.llama_probe import LlamaReport
from llmd.config import Config
from llmd.errors import LlmdError
from llmd.models import resolve
from llmd.models.gguf.parse import Header
from llmd.models.gguf.validate import check_model

_CHOOSE_ANOTHER = "choose another model: `llmd models`, `llmd use NAME`"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Describes the configured model.

    `problem`: why the model cannot be used, and what to do, in one sentence. `family`: empty if
    llama.cpp does not run. `fault`: how llama.cpp ended when it read the model.
    """

    name: str
    source: str  # of the name: default, file, environment
    path: str = ""
    n_bytes: int = 0
    architecture: str = ""
    problem: str = ""
    family: str = ""
    fault: str = ""


def read_model(config: Config, source: str) -> tuple[ModelFacts, Header | None]:
    model = ModelFacts(config.model, source)
    try:
        path = resolve.resolve_model(config.model).path
        header = check_model(path)
    except LlmdError as error:
        return replace(model, problem=str(error)), None
    n_bytes, architecture = header.file_bytes, header.architecture
    return replace(model, path=str(path), n_bytes=n_bytes, architecture=architecture), header


def with_vocabulary(model: ModelFacts, report: LlamaReport) -> ModelFacts:
    """Adds what llama.cpp reported about the vocabulary; nothing if llama.cpp itself failed."""
    if model.problem or report.library is None:
        return model
    if report.vocabulary is None:
        return replace(model, fault=report.fault)
    return replace(model, fault=report.vocabulary.problem, family=report.vocabulary.family)


def judge_config(path: str, is_there: bool, problem: str) -> Finding:
    if problem:
        fix = "correct the file; until then no daemon starts, and a running one keeps its settings"
        return Finding("model", "problem", problem, fix)
    text = "is valid" if is_there else "does not exist; every setting has its default"
    return Finding("model", "ok", f"Config `{path}` {text}")


def judge_model(model: ModelFacts) -> Iterator[Finding]:
    if model.problem:
        text, _, fix = model.problem.rpartition("; ")  # our sentences end with what to do
        fix = fix if text else _CHOOSE_ANOTHER
        yield Finding("model", "problem", text or model.problem, fix)
        return
    if model.source == "environment":
        text = f"Model `{model.name}` is set by LLMD_MODEL, not by the config"
        fix = "unset LLMD_MODEL to use the config's model; editors pass the variable to the daemon"
        yield Finding("model", "note", text, fix)
    gigabytes = f"{model.n_bytes / 1e9:.2f} GB"
    text = f"`{model.path}`: {model.architecture}, {gigabytes}, the header is valid"
    yield Finding("model", "ok", text)
    if model.fault:
        text = f"llama.cpp cannot read the vocabulary of `{model.path}`: {model.fault}"
        yield Finding("model", "problem", text, _CHOOSE_ANOTHER)
    elif model.family == "plain":
        text = f"`{model.name}` has no FIM tokens: the model cannot see the text after the cursor"
        fix = "choose a model trained for infilling: `llmd models`, `llmd use NAME`"
        yield Finding("model", "note", text, fix)
    elif model.family:
        yield Finding("model", "ok", f"The model infills in the format of {model.family}")
