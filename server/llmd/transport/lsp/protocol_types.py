"""LSP's shapes: what is offered, what an answer looks like, what a client said it can do."""

from __future__ import annotations

import re
from typing import Any, Literal

from lsprotocol import types as t

from llmd.document import content, split_lines

# Where a popup client may ask although no word has been begun.
TRIGGER_CHARACTERS = (".", "(", "=", " ")

WORD_BEFORE = re.compile(r"[A-Za-z0-9_]+\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_change(params: Any) -> bool:
    """Whether the params of a didChange are what LSP says; the converter is more lenient, and
    makes a text of null."""
    if not isinstance(params, dict):
        return False
    document, changes = params.get("textDocument"), params.get("contentChanges")
    return (
        isinstance(document, dict)
        and isinstance(document.get("uri"), str)
        and _is_count(document.get("version"), least=-(1 << 31))
        and isinstance(changes, list)
        and all(map(_is_content_change, changes))
    )


def _is_content_change(change: Any) -> bool:
    if not (isinstance(change, dict) and isinstance(change.get("text"), str)):
        return False
    range_ = change.get("range")
    return range_ is None or (
        isinstance(range_, dict)
        and _is_position(range_.get("start"))
        and _is_position(range_.get("end"))
    )


def _is_position(position: Any) -> bool:
    return isinstance(position, dict) and all(
        _is_count(position.get(key)) for key in ("line", "character")
    )


def _is_count(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 31


def popup(text: str, range_: t.Range) -> t.CompletionList:
    lines = [content(line) for line in split_lines(text)]
    item = t.CompletionItem(
        label=next((line for line in lines if line), "↵"),
        kind=t.CompletionItemKind.Text,
        text_edit=t.TextEdit(range_, text),
        filter_text=lines[0],
        sort_text="0",
    )
    return t.CompletionList(is_incomplete=True, items=[item])


def shows_inline(capabilities: t.ClientCapabilities) -> bool:
    text_document = capabilities.text_document
    return text_document is not None and text_document.inline_completion is not None


def shows_progress(capabilities: t.ClientCapabilities) -> bool:
    return bool(capabilities.window and capabilities.window.work_done_progress)


def wants(options: Any, what: Literal["partial", "state"]) -> bool:
    """Whether `initializationOptions.llmd` asks for it."""
    ours = options.get("llmd") if isinstance(options, dict) else None
    return isinstance(ours, dict) and ours.get(what) is True


def valid(text: str) -> str:
    """JSON may spell half a surrogate pair, which is no text and can't be encoded."""
    if text.isascii():
        return text
    return _SURROGATE.sub("\ufffd", text)
