"""Stores what a bridge replays to a new daemon: the editor's `initialize` and, for each open
document, its text and the changes since. Standard library only. Frames are stored unchanged, and
no edit is ever applied here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from llmd.transport.framing import build_message


@dataclass(slots=True)
class _Document:
    opened: bytes  # the body of a didOpen
    language: str
    n_open: int  # its number among the didOpens of the current daemon
    changes: list[bytes] = field(default_factory=list)
    n_dropped: int = 0  # changes since the daemon's didOpen that `opened` already includes


class Journal:
    def __init__(self) -> None:
        self.initialize: bytes = b""
        self.initialize_id: int | str | None = None
        self._initialized: bytes = b""
        self._documents: dict[str, _Document] = {}
        self._n_opens = 0  # didOpens sent to the current daemon

    def record(self, body: bytes, method: str, id_: int | str | None, params: Any) -> None:
        """Stores a message from the editor, if a later daemon needs it."""
        if method == "initialize":
            self.initialize, self.initialize_id = body, id_
        elif method == "initialized":
            self._initialized = body
        elif method == "textDocument/didOpen":
            self._n_opens += 1
            language = str(_item(params).get("languageId", ""))
            self._documents[_uri(params)] = _Document(body, language, self._n_opens)
        elif method == "textDocument/didChange":
            if document := self._documents.get(_uri(params)):
                document.changes.append(body)
        elif method == "textDocument/didClose":
            self._documents.pop(_uri(params), None)

    def take_snapshot(self, params: Any) -> None:
        """Replaces the first `n_changes` changes since the didOpen with the daemon's text. Ignores
        a snapshot of a document that was closed, or opened again, in the meantime."""
        uri, n_changes = params.get("uri"), params.get("n_changes")
        document = self._documents.get(uri) if isinstance(uri, str) else None
        if document is None or params.get("n_open") != document.n_open:
            return
        n_new = n_changes - document.n_dropped
        item = {"languageId": document.language}
        item |= {key: params.get(key) for key in ("uri", "version", "text")}
        document.opened = build_message(
            method="textDocument/didOpen", params={"textDocument": item}
        )
        del document.changes[:n_new]
        document.n_dropped = n_changes

    def bodies(self) -> Iterator[bytes]:
        """Yields the messages for a new daemon, in order, and restarts the count of changes."""
        if not self.initialize:
            return
        yield self.initialize
        if self._initialized:
            yield self._initialized
        self._n_opens = len(self._documents)
        for n_open, document in enumerate(self._documents.values(), 1):
            document.n_open, document.n_dropped = n_open, 0
            yield document.opened
            yield from document.changes


def _item(params: Any) -> dict[str, Any]:
    item = params.get("textDocument") if isinstance(params, dict) else None
    return item if isinstance(item, dict) else {}


def _uri(params: Any) -> str:
    return str(_item(params).get("uri", ""))
