"""One client of the daemon: its documents, its completions, and what it is told of the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

import msgspec
from lsprotocol import types as t
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.protocol import lsp_method

from llmd import __version__
from llmd.document.store import Document, open_document
from llmd.document.text import Encoding, Position, col_chars, col_units, content
from llmd.errors import LlmdError
from llmd.transport.lsp.notices import Notices
from llmd.transport.lsp.rpc import Rpc
from llmd.transport.lsp.shapes import (
    TRIGGER_CHARACTERS,
    WORD_BEFORE,
    popup,
    shows_inline,
    shows_progress,
    valid,
    wants_partial,
)
from llmd.transport.service import Answer, Client, Selected, Service, Then

PROTOCOL = 1
REQUEST_FAILED = -32803
# A bridge's journal of one document may grow to this, or to the size of the document.
JOURNAL_BYTES = 64 * 1024

T = TypeVar("T")

_log = logging.getLogger("llmd.lsp")


@dataclass(slots=True)
class Journal:
    """What a bridge holds of one document's changes since it was opened or last sent whole."""

    n_open: int  # its number among the didOpens of the connection
    n_changes: int = 0  # since it was opened
    n_bytes: int = 0  # since it was last sent


class _Place(msgspec.Struct):
    """An LSP position."""

    line: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    character: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class _CursorParams(msgspec.Struct):
    """`llmd/cursor`."""

    uri: str
    position: _Place


class _CompleteParams(msgspec.Struct):
    """`llmd/complete`: a document that is not open; `col` counts characters from zero."""

    uri: str
    text: str
    line: int
    col: int
    languageId: str = ""  # noqa: N815 - a name on the wire


class Session(Rpc):
    _service: Service

    def __init__(self, server: LanguageServer, converter: Any) -> None:
        self.documents: dict[str, Document] = {}
        self.encoding: Encoding = "utf-16"
        self._journals: dict[str, Journal] = {}
        self._n_opens = 0
        self._stale: set[str] = set()  # documents that miss a change, until they come whole
        self._client: Client | None = None
        self._is_bridge = False
        self._wants_partial = False
        super().__init__(server, converter)
        self._notices = Notices(self.notify, self.send_request)
        self.fm.feature_options[t.TEXT_DOCUMENT_INLINE_COMPLETION] = t.InlineCompletionOptions()
        for name in ("llmd.accepted", "llmd.rejected"):
            self.fm.command(name)(_noted)

    def begin(self, service: Service, writer: Any) -> None:
        self._service = service
        self.set_writer(writer)

    async def end(self) -> None:
        """Cancels what is under way and forgets the documents. Once."""
        await self.end_tasks()
        for uri in list(self.documents):
            self._close(uri)
        if self._client is not None:
            self._service.client_gone(self._client)
            self._client = None

    @lsp_method(t.INITIALIZE)
    def lsp_initialize(self, params: t.InitializeParams) -> Generator[Any, Any, t.InitializeResult]:
        self._wants_partial = wants_partial(params.initialization_options)
        self._notices.has_progress = shows_progress(params.capabilities)
        if not shows_inline(params.capabilities):
            self.fm.add_builtin_feature(t.TEXT_DOCUMENT_COMPLETION, self._completion)
            self.fm.feature_options[t.TEXT_DOCUMENT_COMPLETION] = t.CompletionOptions(
                trigger_characters=list(TRIGGER_CHARACTERS)
            )
        result = yield from super().lsp_initialize(params)
        encoding = result.capabilities.position_encoding
        self.encoding = cast(Encoding, str(getattr(encoding, "value", encoding)))
        self.is_initialized = True
        self._client = self._as_client(params.client_info)
        self._service.client_connected(self._client)
        return result

    def _as_client(self, info: t.ClientInfo | None) -> Client:
        name, version = (info.name, info.version or "") if info else ("", "")
        return Client(
            name=name,
            editor=f"{name} {version}".strip(),
            show=self._notices.show,
            bye=self._bye,
            n_documents=lambda: len(self.documents),
        )

    @lsp_method(t.INITIALIZED)
    def lsp_initialized(self, params: t.InitializedParams) -> Generator[Any, Any, None]:
        yield from super().lsp_initialized(params)  # type: ignore[no-untyped-call]
        self._notices.begin()

    # -- documents

    @lsp_method(t.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: t.DidOpenTextDocumentParams) -> None:
        item = params.text_document
        self._close(item.uri)
        self.documents[item.uri] = open_document(
            item.uri, str(item.language_id), item.version, valid(item.text)
        )
        self._n_opens += 1
        self._journals[item.uri] = Journal(self._n_opens)
        self._service.document_opened()

    @lsp_method(t.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: t.DidChangeTextDocumentParams) -> None:
        document = self.documents.get(params.text_document.uri)
        if document is None:
            return
        document.version = params.text_document.version
        for change in params.content_changes:
            if not isinstance(change, t.TextDocumentContentChangePartial):
                document.set_text(valid(change.text))
                self._stale.discard(document.uri)
            elif document.uri not in self._stale:
                start = self._from_client(document, change.range.start)
                end = self._from_client(document, change.range.end)
                document.edit(start, end, valid(change.text))
        if self._is_bridge:
            self._shorten_journal(document)

    @lsp_method(t.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: t.DidCloseTextDocumentParams) -> None:
        self._close(params.text_document.uri)

    def _close(self, uri: str) -> None:
        if document := self.documents.pop(uri, None):
            self._service.document_closed(document)
        self._journals.pop(uri, None)
        self._stale.discard(uri)

    def lose_change(self, params: Any) -> None:
        """Nothing is said of the document until its whole text comes; of all, where the message
        does not say which it is."""
        document = params.get("textDocument") if isinstance(params, dict) else None
        uri = document.get("uri") if isinstance(document, dict) else None
        self._stale |= (
            {uri} & self.documents.keys() if isinstance(uri, str) else set(self.documents)
        )
        if isinstance(uri, str) and uri in self._journals:
            self._journals[uri].n_changes += 1
        _log.warning("A change of a document can't be read; its next whole text is waited for")

    def _document(self, uri: str) -> Document | None:
        """One whose text is the editor's."""
        return None if uri in self._stale else self.documents.get(uri)

    def _shorten_journal(self, document: Document) -> None:
        """A bridge keeps every change in case we go away; now and then it gets the text instead."""
        journal = self._journals[document.uri]
        journal.n_changes += 1
        journal.n_bytes += self.n_body_bytes
        is_long = journal.n_bytes > max(JOURNAL_BYTES, document.text.n_chars)
        if is_long and document.uri not in self._stale:
            journal.n_bytes = 0
            snapshot = self._snapshot_of(document)
            counts = {"n_changes": journal.n_changes, "n_open": journal.n_open}
            self.notify("llmd/snapshot", {**snapshot, **counts})

    def _snapshot_of(self, document: Document) -> dict[str, Any]:
        text = "".join(document.text.lines)
        return {"uri": document.uri, "version": document.version, "text": text}

    def _from_client(self, document: Document, position: t.Position) -> Position:
        """The position in characters; one that does not exist becomes the nearest that does."""
        lines = document.text.lines
        if position.line >= len(lines):
            return document.text.clamp(Position(position.line, 0))
        line = content(lines[position.line])
        return Position(position.line, col_chars(line, position.character, self.encoding))

    def _to_client(self, document: Document, position: Position) -> t.Position:
        line = document.text.lines[position.line]
        return t.Position(position.line, col_units(line, position.col, self.encoding))

    # -- completion

    @lsp_method(t.TEXT_DOCUMENT_INLINE_COMPLETION)
    def _inline_completion(
        self, params: t.InlineCompletionParams
    ) -> Coroutine[Any, Any, t.InlineCompletionList | None] | None:
        document = self._document(params.text_document.uri)
        if document is None:
            return None
        cursor = self._from_client(document, params.position)
        here = self._to_client(document, cursor)
        info = params.context.selected_completion_info
        head, range_ = (info.text, info.range) if info else ("", t.Range(here, here))
        work = self._service.complete(
            document,
            cursor,
            invoked=params.context.trigger_kind == t.InlineCompletionTriggerKind.Invoked,
            selected=self._selected(document, info) if info else None,
            on_partial=self._partial_sender(document, head),
        )

        def shape(text: str) -> t.InlineCompletionList:
            return t.InlineCompletionList([t.InlineCompletionItem(head + text, range=range_)])

        return self._answer(document, document.version, work, shape)

    def _completion(
        self, params: t.CompletionParams
    ) -> Coroutine[Any, Any, t.CompletionList | None] | None:
        """For editors without inline completion, in a form that their popups' filters keep."""
        document = self._document(params.text_document.uri)
        if document is None:
            return None
        cursor = self._from_client(document, params.position)
        found = WORD_BEFORE.search(document.text.lines[cursor.line][: cursor.col])
        word = found.group() if found else ""
        start = Position(cursor.line, cursor.col - len(word))
        range_ = t.Range(self._to_client(document, start), self._to_client(document, cursor))
        work = self._service.complete(document, cursor, invoked=False)
        return self._answer(
            document, document.version, work, lambda text: popup(word + text, range_)
        )

    def _selected(self, document: Document, info: t.SelectedCompletionInfo) -> Selected:
        start = self._from_client(document, info.range.start)
        return Selected(start, self._from_client(document, info.range.end), info.text)

    async def _answer(
        self,
        document: Document,
        version: int,
        work: Coroutine[Any, Any, Answer],
        shape: Callable[[str], T],
    ) -> T | None:
        """The text in the reply's shape; null if there is none or the document has moved on.

        `version` is the one asked about: an edit in the same read comes before this begins.
        """
        try:
            answer = await work
        except LlmdError as error:
            _log.warning("completion failed: %s", error)
            return None
        if not answer.text or answer.trace.path == "superseded":
            return None
        return shape(answer.text) if self._is_current(document, version) else None

    def _is_current(self, document: Document, version: int) -> bool:
        return self._document(document.uri) is document and document.version == version

    def _partial_sender(self, document: Document, head: str) -> Callable[[str], None] | None:
        if not self._wants_partial:
            return None
        id_, version = self.msg_id, document.version

        def send(text: str) -> None:
            if id_ in self._request_futures and self._is_current(document, version):
                self.notify("llmd/partial", {"id": id_, "text": head + text})

        return send

    # -- llmd's own

    @lsp_method("llmd/hello")
    def _hello(self, params: Any) -> None:
        self._is_bridge = True
        theirs = params if isinstance(params, dict) else {}
        if (theirs.get("protocol"), theirs.get("version")) == (PROTOCOL, __version__):
            return
        reason = (
            f"This editor's llmd is version {theirs.get('version')!s:.40}, the running daemon is "
            f"{__version__}; restart the language server in the editor, or, if the daemon is the "
            "older one, run `llmd restart --daemon`"
        )
        self.notify("llmd/bye", {"reason": reason, "then": "leave"})
        self.closing = True

    @lsp_method("llmd/cursor")
    def _cursor(self, params: Any) -> None:
        """The cursor has come to rest, or insert mode has begun."""
        try:
            found = msgspec.convert(params, _CursorParams)
        except msgspec.ValidationError:
            return
        if document := self._document(found.uri):
            position = t.Position(found.position.line, found.position.character)
            self._service.cursor_rests(document, self._from_client(document, position))

    @lsp_method("llmd/status")
    def _status(self, _: Any) -> dict[str, Any]:
        return self._service.status()

    @lsp_method("llmd/stop")
    def _stop(self, params: Any) -> None:
        restarts = isinstance(params, dict) and params.get("restart") is True
        then: Then = "restart" if restarts else "stay"
        # The reply is written first.
        asyncio.get_running_loop().call_soon(self._service.stop, then)

    @lsp_method("llmd/restart")
    def _restart(self, _: Any) -> None:
        self._service.restart()

    @lsp_method("llmd/why")
    def _why(self, params: Any) -> dict[str, Any] | None:
        uri = params.get("uri") if isinstance(params, dict) else ""
        return self._service.why(uri if isinstance(uri, str) else "")

    @lsp_method("llmd/config")
    def _config(self, _: Any) -> dict[str, Any]:
        return self._service.settings()

    @lsp_method("llmd/snapshot")
    def _snapshot(self, params: Any) -> dict[str, Any] | None:
        """What we hold of a document of this connection; null where it is not open."""
        uri = params.get("uri") if isinstance(params, dict) else None
        document = self.documents.get(uri) if isinstance(uri, str) else None
        return self._snapshot_of(document) if document else None

    def _bye(self, then: Then) -> None:
        if self._is_bridge:
            self.notify("llmd/bye", {"reason": "The llmd daemon was stopped", "then": then})

    @lsp_method("llmd/complete")
    def _complete(self, params: Any) -> Coroutine[Any, Any, dict[str, Any]]:
        try:
            asked = msgspec.convert(params, _CompleteParams)
        except msgspec.ValidationError as error:
            raise JsonRpcInvalidParams(str(error)) from None
        document = open_document(asked.uri, asked.languageId, 0, valid(asked.text), is_kept=False)
        cursor = document.text.clamp(Position(asked.line, asked.col))
        return _by_hand(self._service.complete(document, cursor, invoked=True))


async def _by_hand(work: Coroutine[Any, Any, Answer]) -> dict[str, Any]:
    try:
        answer = await work
    except LlmdError as error:
        raise JsonRpcException(str(error), REQUEST_FAILED) from None
    return {"text": answer.text, "trace": msgspec.to_builtins(answer.trace)}


def _noted(*_: Any) -> None:
    """A suggestion was accepted or rejected; nothing counts them yet."""
