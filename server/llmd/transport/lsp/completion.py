"""Requests completions for one client and shapes the answers as LSP expects them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lsprotocol import types as t

from llmd.completion.handle import CompletionHandle
from llmd.completion.types import Answer
from llmd.context.request import Selected
from llmd.document import Document, Position, split_lines, strip_line_end
from llmd.transport.lsp.dispatch import Deferred, JsonRpc
from llmd.transport.lsp.documents import Documents
from llmd.transport.service import Service

# Characters after which a client with a popup requests completions, besides within words.
TRIGGER_CHARACTERS = (".", "(", "=", " ")

_WORD_BEFORE = re.compile(r"[A-Za-z0-9_]+\Z")


class CompletionHandlers:
    def __init__(self, service: Service, documents: Documents, rpc: JsonRpc) -> None:
        self.has_partial = False
        self._service = service
        self._documents = documents
        self._rpc = rpc

    def inline(self, params: t.InlineCompletionParams) -> Deferred | None:
        document = self._documents.get(params.text_document.uri)
        if document is None:
            return None
        cursor = self._documents.from_client(document, params.position)
        position = self._documents.to_client(document, cursor)
        info = params.context.selected_completion_info
        head, range_ = (info.text, info.range) if info else ("", t.Range(position, position))
        handle = self._service.complete(
            document,
            cursor,
            invoked=params.context.trigger_kind == t.InlineCompletionTriggerKind.Invoked,
            selected=self._selected(document, info) if info else None,
            on_partial=self._partial_sender(document, head),
        )

        def shape(text: str) -> t.InlineCompletionList:
            return t.InlineCompletionList([t.InlineCompletionItem(head + text, range=range_)])

        return self._deferred(document, handle, shape)

    def in_popup(self, params: t.CompletionParams) -> Deferred | None:
        """Serves editors without inline completion: the range and the filter text include the word
        before the cursor, since popups show only items that match that word."""
        document = self._documents.get(params.text_document.uri)
        if document is None:
            return None
        cursor = self._documents.from_client(document, params.position)
        match = _WORD_BEFORE.search(document.text.lines[cursor.line][: cursor.col])
        word = match.group() if match else ""
        start = self._documents.to_client(document, Position(cursor.line, cursor.col - len(word)))
        range_ = t.Range(start, self._documents.to_client(document, cursor))
        handle = self._service.complete(document, cursor, invoked=False)
        return self._deferred(document, handle, lambda text: to_popup(word + text, range_))

    def alternative(self, document: Document, cursor: Position, n: int) -> Deferred:
        handle = self._service.complete(
            document,
            cursor,
            invoked=True,
            on_partial=self._partial_sender(document, ""),
            alternative=n,
        )
        return self._deferred(document, handle, lambda text: {"text": text})

    def _selected(self, document: Document, info: t.SelectedCompletionInfo) -> Selected:
        start = self._documents.from_client(document, info.range.start)
        return Selected(start, self._documents.from_client(document, info.range.end), info.text)

    def _deferred(
        self, document: Document, handle: CompletionHandle, shape: Callable[[str], Any]
    ) -> Deferred:
        """Returns an answer with the shaped text, or null if there is no text or the document has
        changed."""
        version = document.version

        def to_result(answer: Answer) -> Any:
            if not answer.text or answer.trace.path == "superseded":
                return None
            return shape(answer.text) if self._documents.is_current(document, version) else None

        return Deferred(handle, to_result)

    def _partial_sender(self, document: Document, head: str) -> Callable[[str], None] | None:
        if not self.has_partial:
            return None
        id_, version = self._rpc.request_id, document.version

        def send(text: str) -> None:
            if self._rpc.is_pending(id_) and self._documents.is_current(document, version):
                self._rpc.notify("llmd/partial", {"id": id_, "text": head + text})

        return send


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
