"""Asks llama.cpp about itself and about a model, in a process of its own: a crash in native code
ends that process alone.

`python -m llmd.cli.doctor.llama_probe [MODEL]` prints a line of JSON about the library, then one
about the model, of which only the vocabulary is loaded. The caller has checked the model's
header.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import msgspec

from llmd.cli.doctor.subprocess_json import run_module
from llmd.errors import LlmdError
from llmd.models.memory_plan import DescribedMachine

# The probe takes a second. On a busy machine a slow probe is not a fault of llama.cpp. A Mac may
# have to compile Metal's kernels first.
PROBE_TIMEOUT_S = 60.0 if sys.platform == "darwin" else 15.0


class LibraryReport(msgspec.Struct, frozen=True):
    backends: tuple[str, ...]
    info: str
    machine: DescribedMachine


class VocabularyReport(msgspec.Struct, frozen=True):
    """Describes a model's vocabulary.

    `family`: `plain` for a model without FIM tokens.
    """

    problem: str = ""
    family: str = ""


class LlamaReport(msgspec.Struct, frozen=True):
    """Holds what the probe reported; None where the probe did not get so far. `fault`: how the
    probe failed."""

    library: LibraryReport | None = None
    vocabulary: VocabularyReport | None = None
    fault: str = ""


def probe_llama(path: str) -> LlamaReport:
    """Asks about the library, and about the model at `path` unless that is empty."""
    lines, fault = run_module(
        "llmd.cli.doctor.llama_probe", [path] if path else [], PROBE_TIMEOUT_S
    )
    library = msgspec.convert(lines[0], LibraryReport) if lines else None
    vocabulary = msgspec.convert(lines[1], VocabularyReport) if len(lines) > 1 else None
    return LlamaReport(library, vocabulary, fault or "no output")


def _main() -> None:
    _print(_library())
    if len(sys.argv) > 1:
        _print(_vocabulary(Path(sys.argv[1])))


def _library() -> LibraryReport:
    from llmd.worker.llama.system_info import backends, system_info
    from llmd.worker.loader import describe_machine

    return LibraryReport(tuple(backends()), system_info(), describe_machine())


def _vocabulary(path: Path) -> VocabularyReport:
    from llmd.prompt.families import recognise
    from llmd.worker.llama import Model

    try:
        model = Model(path, vocab_only=True)
    except LlmdError as error:
        return VocabularyReport(problem=str(error))
    with closing(model):
        vocabulary = model.vocabulary
        match = recognise(model.name, vocabulary.declared, vocabulary.find)
    return VocabularyReport(family=match.family.name)


def _print(report: msgspec.Struct) -> None:
    print(msgspec.json.encode(report).decode(), flush=True)


if __name__ == "__main__":
    _main()
