"""llama.cpp, asked in a process of its own: a fault in native code ends that one only.

`python -m llmd.cli.doctor.probe [MODEL]` prints a line of JSON about the library, then one about
the model, of which only the vocabulary is loaded. The caller has read the model's header.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmd.errors import LlmdError
from llmd.prompt.families import recognise
from llmd.worker.llama import Model, backend, gpus
from llmd.worker.llama.devices import backends, system_info


def main() -> None:
    _say(_library())
    if len(sys.argv) > 1:
        _say(_model(Path(sys.argv[1])))


def _library() -> dict[str, Any]:
    found, is_unified = gpus()
    return {
        "backends": backends(),
        "backend": backend(),
        "info": system_info(),
        "gpus": [asdict(gpu) for gpu in found],
        "is_unified": is_unified,
    }


def _model(path: Path) -> dict[str, str]:
    """`family`: `plain` where it has no FIM tokens."""
    try:
        model = Model(path, vocab_only=True)
    except LlmdError as error:
        return {"problem": str(error)}
    vocabulary = model.vocabulary
    match = recognise(model.name, vocabulary.declared, vocabulary.find)
    return {"family": match.family.name, "problem": ""}


def _say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
