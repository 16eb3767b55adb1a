"""LSP for one connection. The only importer of pygls and lsprotocol.

pygls negotiates capabilities and structures messages; what it does besides is overridden, because
it is made for one client per process: `exit` ends the process, finished handlers are kept for
ever, caches hold dead connections, the log holds every body, and its documents are split into
lines anew on every edit. Here documents are ours, a handler runs at once and may return a
coroutine, and every request gets exactly one reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import json
import logging
import re
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from typing import Any, TypeVar, cast

import msgspec
from lsprotocol import types as t
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.protocol import (
    JsonRPCNotification,
    JsonRPCRequestMessage,
    JsonRPCResponseMessage,
    LanguageServerProtocol,
    default_converter,
    lsp_method,
)

from llmd import __version__
from llmd.document.store import Document, open_document
from llmd.document.text import Encoding, Position, col_chars, col_units, content, split_lines
from llmd.errors import LlmdError
from llmd.transport.framing import FrameSplitter, FramingError
from llmd.transport.service import Answer, Client, Selected, Service

PROTOCOL = 1
CHUNK_BYTES = 64 * 1024
# A peer that asks and does not read is let go before it holds more of the daemon's memory.
MAX_UNSENT_BYTES = 8 * 1024 * 1024
CLOSE_TIMEOUT_S = 1.0
# Vim's channel answers numeric ids only; these are never a client's own.
FIRST_SERVER_ID = 1 << 30
# Where a popup client may ask although no word has been begun.
TRIGGER_CHARACTERS = (".", "(", "=", " ")

PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS = -32700, -32600, -32602
NOT_INITIALIZED, REQUEST_FAILED = -32002, -32803

_WORD_BEFORE = re.compile(r"[A-Za-z0-9_]+\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")

T = TypeVar("T")

_log = logging.getLogger("llmd.lsp")


def _quiet(record: logging.LogRecord) -> bool:
    """pygls formats messages and tracebacks that hold the user's code; its templates do not."""
    record.args, record.exc_info, record.exc_text = None, None, None
    return True


def _silence_pygls() -> None:
    logging.getLogger("pygls").setLevel(logging.WARNING)  # at INFO every body is written
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("pygls")]:
        logging.getLogger(name).addFilter(_quiet)  # a filter does not see its children's records


def _plain(obj: dict[str, Any], cls: Callable[..., Any]) -> Any:
    """Params of our own methods stay plain data; pygls would make a class for each message."""
    key = "result" if cls is JsonRPCResponseMessage else "params"
    head = {name: obj[name] for name in ("id", "method", "jsonrpc") if name in obj}
    return cls(**head, **{key: obj.get(key)})


def _shared_converter() -> Any:
    """One for all connections: 27 ms to build, and its hooks warm with use."""
    converter = default_converter()  # type: ignore[no-untyped-call]
    for cls in (JsonRPCRequestMessage, JsonRPCNotification, JsonRPCResponseMessage):
        converter.register_structure_hook(cls, _plain)
    return converter


_silence_pygls()
_CONVERTER = _shared_converter()


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service
) -> None:
    """Speaks LSP until either side ends it. What a client sends never raises into the caller."""
    session = _Connection(service, writer).session
    try:
        await _read_messages(reader, session)
    except (asyncio.CancelledError, ConnectionError):
        pass  # the daemon stops, or the peer is gone: 3.11 would print a traceback for each
    except FramingError as error:
        _log.warning("connection closed: %s", error)
    except Exception as error:
        _log.warning("connection closed by %s", type(error).__name__)
    finally:
        await session.end()
        await _close(writer)


async def _read_messages(reader: asyncio.StreamReader, session: Session) -> None:
    splitter = FrameSplitter()
    while chunk := await reader.read(CHUNK_BYTES):
        for body in splitter.feed(chunk):
            session.receive(body)
            if session.closing:
                return


async def _close(writer: asyncio.StreamWriter) -> None:
    """Sends what is written, for a moment; then drops it."""
    writer.close()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await asyncio.wait_for(writer.wait_closed(), CLOSE_TIMEOUT_S)
    writer.transport.abort()


class _Writer:
    """What pygls writes to: bounded, and quiet once the peer has gone."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def write(self, data: bytes) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            return
        self._writer.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            _log.warning("connection dropped: it does not read its replies")
            transport.abort()

    def close(self) -> None:
        self._writer.close()


class _Connection(LanguageServer):
    """pygls's server object, one for each connection."""

    def __init__(self, service: Service, writer: asyncio.StreamWriter) -> None:
        super().__init__(
            "llmd", __version__, protocol_cls=Session, converter_factory=lambda: _CONVERTER
        )
        self.session = cast(Session, self.protocol)
        self.session.begin(service, writer)

    def report_server_error(self, error: Exception, source: object) -> None:
        """Upstream shows a popup in the editor. The error's words may hold the user's code."""
        _log.warning("%s: %s", getattr(source, "__name__", "error"), type(error).__name__)


class _CompleteParams(msgspec.Struct):
    """`llmd/complete`: a document that is not open; `col` counts characters from zero."""

    uri: str
    text: str
    line: int
    col: int
    languageId: str = ""  # noqa: N815 - a name on the wire


class Session(LanguageServerProtocol):
    """The messages of one connection: its documents, its encoding, its tasks."""

    _service: Service

    def __init__(self, server: LanguageServer, converter: Any) -> None:
        self.documents: dict[str, Document] = {}
        self.encoding: Encoding = "utf-16"
        self.closing = False
        self._client: Client | None = None
        self._wants_partial = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server_ids = itertools.count(FIRST_SERVER_ID)
        super().__init__(server, converter)
        self.fm.feature_options[t.TEXT_DOCUMENT_INLINE_COMPLETION] = t.InlineCompletionOptions()
        for name in ("llmd.accepted", "llmd.rejected"):
            self.fm.command(name)(_noted)

    def begin(self, service: Service, writer: asyncio.StreamWriter) -> None:
        self._service = service
        self.set_writer(_Writer(writer))

    async def end(self) -> None:
        """Cancels what is under way and forgets the documents. Once."""
        self.closing = True
        await asyncio.sleep(0)  # a task that never began would not run its `finally`
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.documents.clear()
        if self._client is not None:
            self._service.client_gone(self._client)
            self._client = None

    # -- messages in

    def receive(self, body: bytes) -> None:
        """Handles one message. A request that is refused here is answered here."""
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            self._refuse(None, PARSE_ERROR, "Message is not JSON")
            return
        problem = _envelope_problem(data)
        if problem:
            self._refuse(None, INVALID_REQUEST, problem)
            return
        is_request = "id" in data and "method" in data
        if refusal := self._out_of_turn(data.get("method")):
            if is_request:
                self._refuse(data["id"], *refusal)
            return
        try:
            message = self.structure_message(data)
        except JsonRpcException:
            if is_request:
                self._refuse(data["id"], INVALID_PARAMS, "Params are not of the expected form")
            return
        self.handle_message(message)

    def _out_of_turn(self, method: str | None) -> tuple[int, str] | None:
        """Why the message can't be handled now. Questions of our own need no `initialize`."""
        if method is None or method == t.EXIT or method.startswith("llmd/"):
            return None
        if self._shutdown:
            return INVALID_REQUEST, "The connection was shut down; only `exit` may follow"
        if method == t.INITIALIZE:
            twice = self._client is not None
            return (INVALID_REQUEST, "`initialize` was sent twice") if twice else None
        if self._client is None and not method.startswith("$/"):
            return NOT_INITIALIZED, "`initialize` must come first"
        return None

    def _refuse(self, id_: int | str | None, code: int, message: str) -> None:
        error = {"code": code, "message": message}
        self._send_data({"jsonrpc": "2.0", "id": id_, "error": error})

    def _execute_handler(
        self,
        msg_id: Any,
        handler: Callable[..., Any],
        callback: Callable[[Any], None],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Runs the handler now; if it returns a coroutine, that becomes the request's task.

        pygls starts handlers as tasks, so that a didChange in the same read runs before the
        request it follows; and it never drops the future of a notification.
        """
        if inspect.isgeneratorfunction(handler):
            super()._execute_handler(msg_id, handler, callback, args, kwargs)
            self._request_futures.pop(msg_id, None)  # ours never wait
            return
        done: Future[Any] = Future()
        done.add_done_callback(callback)
        try:
            result = handler(*(args or ()), **(kwargs or {}))
        except Exception as error:
            done.set_exception(error)
            return
        if inspect.iscoroutine(result):
            self._start(msg_id, result, callback)
        else:
            done.set_result(result)

    def _start(
        self, msg_id: Any, work: Coroutine[Any, Any, Any], callback: Callable[[Any], None]
    ) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        self._request_futures[msg_id] = cast("Future[Any]", task)

        def finish(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if cast(object, self._request_futures.get(msg_id)) is task:
                del self._request_futures[msg_id]
            callback(task)

        task.add_done_callback(finish)

    def _handle_cancel_notification(self, msg_id: Any) -> None:
        """Cancels after the task's first step: one that never began would leave its engine
        request behind. The task's end is the one reply."""
        future = self._request_futures.get(msg_id)
        if future is not None and cast(object, future) in self._tasks:
            asyncio.get_running_loop().call_soon(future.cancel)

    # -- pygls's own habits, undone

    def get_message_type(self, method: str) -> type[Any] | None:  # type: ignore[override]
        """Upstream's cache on the method keeps every dead connection alive."""
        return t.METHOD_TO_TYPES.get(method, (None,))[0]

    def get_result_type(self, method: str) -> type[Any] | None:  # type: ignore[override]
        return t.METHOD_TO_TYPES.get(method, (None, None))[1]

    def send_request(
        self,
        method: str,
        params: Any | None = None,
        callback: Callable[[Any], None] | None = None,
        msg_id: Any | None = None,
    ) -> Future[Any]:
        id_ = next(self._server_ids) if msg_id is None else msg_id
        return super().send_request(method, params, callback, id_)

    @lsp_method(t.EXIT)
    def lsp_exit(self, *_: Any) -> None:  # type: ignore[override]
        """Ends this connection; upstream ends the process."""
        self.closing = True

    @lsp_method(t.SHUTDOWN)
    def lsp_shutdown(self, *_: Any) -> None:  # type: ignore[override]
        self._shutdown = True
        for id_ in list(self._request_futures):
            self._handle_cancel_notification(id_)

    @lsp_method(t.INITIALIZE)
    def lsp_initialize(self, params: t.InitializeParams) -> Generator[Any, Any, t.InitializeResult]:
        self._wants_partial = _wants_partial(params.initialization_options)
        if not _shows_inline(params.capabilities):
            self.fm.add_builtin_feature(t.TEXT_DOCUMENT_COMPLETION, self._completion)
            self.fm.feature_options[t.TEXT_DOCUMENT_COMPLETION] = t.CompletionOptions(
                trigger_characters=list(TRIGGER_CHARACTERS)
            )
        result = yield from super().lsp_initialize(params)
        encoding = result.capabilities.position_encoding
        self.encoding = cast(Encoding, str(getattr(encoding, "value", encoding)))
        info = params.client_info
        name, version = (info.name, info.version or "") if info else ("", "")
        self._client = Client(name=name, editor=f"{name} {version}".strip())
        self._service.client_connected(self._client)
        return result

    # -- documents

    @lsp_method(t.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: t.DidOpenTextDocumentParams) -> None:
        item = params.text_document
        self.documents[item.uri] = open_document(
            item.uri, str(item.language_id), item.version, _valid(item.text)
        )

    @lsp_method(t.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: t.DidChangeTextDocumentParams) -> None:
        document = self.documents.get(params.text_document.uri)
        if document is None:
            return
        document.version = params.text_document.version
        for change in params.content_changes:
            if isinstance(change, t.TextDocumentContentChangePartial):
                start = self._from_client(document, change.range.start)
                end = self._from_client(document, change.range.end)
                document.edit(start, end, _valid(change.text))
            else:
                document.set_text(_valid(change.text))

    @lsp_method(t.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: t.DidCloseTextDocumentParams) -> None:
        self.documents.pop(params.text_document.uri, None)

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
        document = self.documents.get(params.text_document.uri)
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
        document = self.documents.get(params.text_document.uri)
        if document is None:
            return None
        cursor = self._from_client(document, params.position)
        found = _WORD_BEFORE.search(document.text.lines[cursor.line][: cursor.col])
        word = found.group() if found else ""
        start = Position(cursor.line, cursor.col - len(word))
        range_ = t.Range(self._to_client(document, start), self._to_client(document, cursor))
        work = self._service.complete(document, cursor, invoked=False)
        return self._answer(
            document, document.version, work, lambda text: _popup(word + text, range_)
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
        return self.documents.get(document.uri) is document and document.version == version

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
        theirs = params if isinstance(params, dict) else {}
        if (theirs.get("protocol"), theirs.get("version")) == (PROTOCOL, __version__):
            return
        reason = (
            f"This llmd is version {theirs.get('version')!s:.40}, the running daemon is "
            f"{__version__}; run `llmd restart --daemon`"
        )
        self.notify("llmd/bye", {"reason": reason})
        self.closing = True

    @lsp_method("llmd/status")
    def _status(self, _: Any) -> dict[str, Any]:
        return self._service.status()

    @lsp_method("llmd/stop")
    def _stop(self, _: Any) -> None:
        asyncio.get_running_loop().call_soon(self._service.stop)  # the reply is written first

    @lsp_method("llmd/complete")
    def _complete(self, params: Any) -> Coroutine[Any, Any, dict[str, Any]]:
        try:
            asked = msgspec.convert(params, _CompleteParams)
        except msgspec.ValidationError as error:
            raise JsonRpcInvalidParams(str(error)) from None
        document = open_document(asked.uri, asked.languageId, 0, _valid(asked.text))
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


def _popup(text: str, range_: t.Range) -> t.CompletionList:
    lines = [content(line) for line in split_lines(text)]
    item = t.CompletionItem(
        label=next((line for line in lines if line), "↵"),
        kind=t.CompletionItemKind.Text,
        text_edit=t.TextEdit(range_, text),
        filter_text=lines[0],
        sort_text="0",
    )
    return t.CompletionList(is_incomplete=True, items=[item])


def _envelope_problem(data: object) -> str:
    if not isinstance(data, dict) or data.get("jsonrpc") != "2.0":
        return "Message is not a JSON-RPC 2.0 object"
    if "id" in data and (isinstance(data["id"], bool) or not isinstance(data["id"], int | str)):
        return "Message id is not a number or a string"
    if not isinstance(data.get("method", ""), str) or not ("id" in data or "method" in data):
        return "Message names no method"
    return ""


def _shows_inline(capabilities: t.ClientCapabilities) -> bool:
    text_document = capabilities.text_document
    return text_document is not None and text_document.inline_completion is not None


def _wants_partial(options: Any) -> bool:
    ours = options.get("llmd") if isinstance(options, dict) else None
    return isinstance(ours, dict) and ours.get("partial") is True


def _valid(text: str) -> str:
    """JSON may spell half a surrogate pair, which is no text and can't be encoded."""
    if text.isascii():
        return text
    return _SURROGATE.sub("\ufffd", text)
