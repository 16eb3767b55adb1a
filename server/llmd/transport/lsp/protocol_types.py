"""Reads what clients send and builds what they get, where lsprotocol's types do not suffice."""

from __future__ import annotations

import re
from typing import Any, Literal

from lsprotocol import types as t

from llmd.document import split_lines, strip_line_end

# Characters after which a client with a popup requests completions, besides within words.
TRIGGER_CHARACTERS = (".", "(", "=", " ")

WORD_BEFORE = re.compile(r"[A-Za-z0-9_]+\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_change(params: Any) -> bool:
    """Returns whether the params of a didChange conform to LSP. lsprotocol's converter is more
    lenient: it converts null to a text."""
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


def to_popup(text: str, range_: t.Range) -> t.CompletionList:
    """Returns a list of one item that replaces `range_`, labelled with the first line that is not
    empty. The list is incomplete, so that the client requests it again while the user types."""
    lines = [strip_line_end(line) for line in split_lines(text)]
    item = t.CompletionItem(
        label=next((line for line in lines if line), "↵"),
        kind=t.CompletionItemKind.Text,
        text_edit=t.TextEdit(range_, text),
        filter_text=lines[0],
        sort_text="0",
    )
    return t.CompletionList(is_incomplete=True, items=[item])


def supports_inline(capabilities: t.ClientCapabilities) -> bool:
    text_document = capabilities.text_document
    return text_document is not None and text_document.inline_completion is not None


def supports_progress(capabilities: t.ClientCapabilities) -> bool:
    return bool(capabilities.window and capabilities.window.work_done_progress)


def has_option(options: Any, name: Literal["partial", "state"]) -> bool:
    """Returns whether `initializationOptions.llmd` sets the option to true."""
    llmd_options = options.get("llmd") if isinstance(options, dict) else None
    return isinstance(llmd_options, dict) and llmd_options.get(name) is True


def replace_surrogates(text: str) -> str:
    """Replaces each half of a surrogate pair, which JSON can spell and UTF-8 cannot encode."""
    if text.isascii():
        return text
    return _SURROGATE.sub("\ufffd", text)
