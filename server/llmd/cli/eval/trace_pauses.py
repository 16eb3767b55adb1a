"""Makes cases from an editing trace (josephg/editing-traces, `sequential_traces`): where the user
paused after typing, and the text typed next. Reads a file; the rest is pure."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from llmd.cli.eval.cases import EvalCase, evenly_spaced
from llmd.errors import BadInput

PAUSE_S = 2.0  # the traces' clocks tick in seconds
MAX_TYPED_CHARS = 2000
# Editors insert these pairs at once and leave the cursor inside.
PAIRS = ("()", "[]", "{}", '""', "''", "``", "<>")
# A trace does not contain the name of its file.
FILE_NAMES = {
    "sveltecomponent": "App.svelte",
    "rustcode": "skiplist.rs",
    "json-crdt-patch": "patch.md",
    "json-crdt-blog-post": "post.md",
    "seph-blog1": "post.md",
    "automerge-paper": "paper.tex",
}

Patch = tuple[int, int, str]  # position in characters, number deleted, text inserted


class TraceEdit(msgspec.Struct, frozen=True):
    patches: tuple[Patch, ...]
    time: datetime | None = None


class EditingTrace(msgspec.Struct, frozen=True, rename="camel"):
    start_content: str
    txns: tuple[TraceEdit, ...]


def read_trace(path: Path) -> EditingTrace:
    """
    Raises:
        BadInput: the file cannot be read, or is not a trace.
    """
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        return msgspec.json.decode(text, type=EditingTrace)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(f"Trace `{path}` cannot be read: {reason}; name a JSON file") from None
    except (msgspec.MsgspecError, EOFError, UnicodeDecodeError):
        raise BadInput(f"Trace `{path}` is not an editing trace; expected `txns`") from None


def pause_cases(path: Path, limit: int | None = None) -> list[EvalCase]:
    """Returns all pauses, or `limit` pauses spread evenly over the trace.

    Raises:
        BadInput: the file cannot be read, is not a trace, or has edits without a time.
    """
    trace = read_trace(path)
    if any(edit.time is None for edit in trace.txns):
        raise BadInput(f"Trace `{path}` has edits without a time; expected a time for each edit")
    cases, text, n_done = [], trace.start_content, 0
    for index, caret in evenly_spaced(find_pauses(trace.txns), limit):
        for edit in trace.txns[n_done : index + 1]:
            text = apply_patches(text, edit.patches)
        n_done = index + 1
        case = EvalCase(
            id=f"{trace_stem(path)}/{index}",
            before=text[:caret],
            after=text[caret:],
            truth=typed_after(trace.txns, n_done, caret),
            file_name=file_name(path),
            is_invoked=False,
        )
        cases.append(case)
    return cases


def trace_stem(path: Path) -> str:
    return path.name.split(".", 1)[0]


def file_name(path: Path) -> str:
    """Guesses the name of the file that was edited."""
    return FILE_NAMES.get(trace_stem(path), "trace.txt")


def apply_patches(text: str, patches: Sequence[Patch]) -> str:
    for position, n_deleted, inserted in patches:
        text = text[:position] + inserted + text[position + n_deleted :]
    return text


def find_pauses(edits: Sequence[TraceEdit]) -> list[tuple[int, int]]:
    """Returns the index of, and the cursor after, each insertion that the next edit follows after
    PAUSE_S or more."""
    pauses = []
    for index, (edit, following) in enumerate(itertools.pairwise(edits)):
        caret = caret_after(edit)
        if caret is None or edit.time is None or following.time is None:
            continue
        if (following.time - edit.time).total_seconds() >= PAUSE_S:
            pauses.append((index, caret))
    return pauses


def caret_after(edit: TraceEdit) -> int | None:
    """Returns the cursor after an insertion; None for any other edit."""
    match edit.patches:
        case [(position, 0, text)] if text:
            return position + (1 if text in PAIRS else len(text))
    return None


def typed_after(edits: Sequence[TraceEdit], index: int, caret: int) -> str:
    """Returns the text inserted at the cursor from edit `index` on, up to a jump or a deletion."""
    typed = ""
    for number in range(index, len(edits)):
        after = caret_after(edits[number])
        position, _, text = edits[number].patches[0]
        if after is None or position != caret or len(typed) >= MAX_TYPED_CHARS:
            break
        typed += text[: after - position]
        caret = after
    return typed
