"""Writes the tables of docs/PROTOCOL.md, made from the structs that cross the socket.

Text outside the markers `<!-- table: NAME -->` and `<!-- end -->` stays as it is.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from llmd.completion.trace import RequestStages, Trace
from llmd.config.load import SettingsReport
from llmd.transport.status_types import Status

PAGE = Path(__file__).resolve().parents[1] / "docs" / "PROTOCOL.md"
TABLES: dict[str, type[msgspec.Struct]] = {
    "status": Status,
    "why": RequestStages,
    "trace": Trace,
    "config": SettingsReport,
}
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.S)
_KEY = re.compile(r"^(\w+): (.*(?:\n    .*)*)", re.M)
_WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}


def text(page: str) -> str:
    """Returns the page with its tables made anew."""
    return _BLOCK.sub(lambda block: block[1] + _table(TABLES[block[2]]) + block[3], page)


def _table(struct: type[msgspec.Struct]) -> str:
    # A struct that has a table of its own, or was listed before, is not listed again.
    first_use = dict.fromkeys(TABLES.values(), "")
    lines = [f"| `{key}` | {kind} | {about} |\n" for key, kind, about in _rows(struct, first_use)]
    return "\n| key | type | meaning |\n|---|---|---|\n" + "".join(lines) + "\n"


def _rows(
    struct: type[msgspec.Struct], first_use: dict[type[msgspec.Struct], str], prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    hints, texts = get_type_hints(struct), _texts(struct)
    for name in struct.__struct_fields__:
        key, about = prefix + name, texts[name]
        inner, word = _inner(hints[name])
        if known := first_use.get(inner):
            about += f"; keys as in `{known}`"
        yield key, word, about
        if _is_struct(inner) and inner not in first_use:
            first_use[inner] = key
            yield from _rows(inner, first_use, f"{key}[]." if word == "list" else f"{key}.")


def _texts(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Returns the text of each key: a line `key: text` of the docstring, and the indented lines
    below it."""
    texts: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        for key, text in _KEY.findall(inspect.cleandoc(base.__doc__ or "")):
            texts[key] = " ".join(text.split())
    return texts


def _inner(kind: Any) -> tuple[Any, str]:
    """Returns the type of the value, or of a list's items, and the words for the type column."""
    parts = [part for part in get_args(kind) if part not in (NoneType, Ellipsis)]
    if NoneType in get_args(kind):
        inner, word = _inner(parts[0])
        return inner, f"{word} or null"
    if get_origin(kind) is Literal:
        return str, "string"
    if get_origin(kind) is tuple:
        return parts[0], "list"
    if _is_struct(kind):
        return kind, "object"
    return kind, _WORDS.get(get_origin(kind) or kind, "any")


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


if __name__ == "__main__":
    PAGE.write_text(text(PAGE.read_text()))
