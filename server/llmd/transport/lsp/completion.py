"""Completions for one client: the question put to the service, the answer in the reply's shape."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from lsprotocol import types as t

from llmd.completion.inflight import CompletionHandle
from llmd.context.request import Selected
from llmd.document import Document, Position
from llmd.transport.lsp.documents import Documents
from llmd.transport.lsp.jsonrpc import Rpc
from llmd.transport.lsp.protocol_types import WORD_BEFORE, popup
from llmd.transport.service import Service

T = TypeVar("T")


class CompletionHandlers:
    def __init__(self, service: Service, documents: Documents, rpc: Rpc) -> None:
        self.wants_partial = False
        self._service = service
        self._documents = documents
        self._rpc = rpc

    def inline(
        self, params: t.InlineCompletionParams
    ) -> Coroutine[Any, Any, t.InlineCompletionList | None] | None:
        document = self._documents.get(params.text_document.uri)
        if document is None:
            return None
        cursor = self._documents.from_client(document, params.position)
        here = self._documents.to_client(document, cursor)
        info = params.context.selected_completion_info
        head, range_ = (info.text, info.range) if info else ("", t.Range(here, here))
        request = self._service.complete(
            document,
            cursor,
            invoked=params.context.trigger_kind == t.InlineCompletionTriggerKind.Invoked,
            selected=self._selected(document, info) if info else None,
            on_partial=self._partial_sender(document, head),
        )

        def shape(text: str) -> t.InlineCompletionList:
            return t.InlineCompletionList([t.InlineCompletionItem(head + text, range=range_)])

        return self._answer(document, document.version, request, shape)

    def in_popup(
        self, params: t.CompletionParams
    ) -> Coroutine[Any, Any, t.CompletionList | None] | None:
        """For editors without inline completion, in a form that their popups' filters keep."""
        document = self._documents.get(params.text_document.uri)
        if document is None:
            return None
        cursor = self._documents.from_client(document, params.position)
        found = WORD_BEFORE.search(document.text.lines[cursor.line][: cursor.col])
        word = found.group() if found else ""
        start = self._documents.to_client(document, Position(cursor.line, cursor.col - len(word)))
        range_ = t.Range(start, self._documents.to_client(document, cursor))
        request = self._service.complete(document, cursor, invoked=False)
        return self._answer(
            document, document.version, request, lambda text: popup(word + text, range_)
        )

    def alternative(
        self, document: Document, cursor: Position, n: int
    ) -> Coroutine[Any, Any, dict[str, str] | None]:
        request = self._service.complete(
            document,
            cursor,
            invoked=True,
            on_partial=self._partial_sender(document, ""),
            alternative=n,
        )
        return self._answer(document, document.version, request, lambda text: {"text": text})

    def _selected(self, document: Document, info: t.SelectedCompletionInfo) -> Selected:
        start = self._documents.from_client(document, info.range.start)
        return Selected(start, self._documents.from_client(document, info.range.end), info.text)

    async def _answer(
        self,
        document: Document,
        version: int,
        request: CompletionHandle,
        shape: Callable[[str], T],
    ) -> T | None:
        """The text in the reply's shape; null if there is none or the document has moved on.

        `version` is the one asked about: an edit in the same read comes before this begins.
        """
        try:
            answer = await request.result()
        except asyncio.CancelledError:
            request.cancel()
            raise
        if not answer.text or answer.trace.path == "superseded":
            return None
        return shape(answer.text) if self._documents.is_current(document, version) else None

    def _partial_sender(self, document: Document, head: str) -> Callable[[str], None] | None:
        if not self.wants_partial:
            return None
        id_, version = self._rpc.msg_id, document.version

        def send(text: str) -> None:
            if self._rpc.is_at(id_) and self._documents.is_current(document, version):
                self._rpc.notify("llmd/partial", {"id": id_, "text": head + text})

        return send
