"""Serves one Neovim: its buffers, its completion requests, and the engine's state that it shows.

The documents belong to the connection: two Neovims that edit one file have two documents.
"""

from __future__ import annotations

import asyncio
import logging
from functools import singledispatchmethod

from llmd.completion.handle import CompletionHandle
from llmd.completion.types import Answer, Outcome
from llmd.document import Document, Position, open_document
from llmd.transport.connection import Send, serve
from llmd.transport.nvim import protocol_types
from llmd.transport.nvim.buffer_mapping import apply, buffer_text, to_position
from llmd.transport.nvim.msgpack_rpc import MessageDecoder, RpcRequest, encode_call, encode_refusal
from llmd.transport.service import Client, EngineView, ReconnectPolicy, Service

PROTOCOL = 1

_log = logging.getLogger("llmd.nvim")


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service
) -> None:
    """Serves until either peer closes. Nothing that a client sends raises an error here."""
    await serve(reader, writer, lambda send: NvimSession(service, send), _log)


class NvimSession:
    """Serves one Neovim.

    `send` writes bytes to the editor.
    """

    def __init__(self, service: Service, send: Send) -> None:
        self.is_closed = False
        self.documents: dict[int, Document] = {}  # by buffer number
        self._service = service
        self._send = send
        self._messages = MessageDecoder()
        self._client: Client | None = None
        self._view: EngineView | None = None
        self._requests: dict[int, CompletionHandle] = {}

    def receive(self, data: bytes) -> None:
        """
        Raises:
            PeerError: the stream cannot be read further.
        """
        for message in self._messages.feed(data):
            if isinstance(message, RpcRequest):
                self._send(encode_refusal(message))
            elif typed := protocol_types.parse_message(message.method, message.params):
                self._handle(typed)

    def end(self) -> None:
        """Cancels the pending requests and closes the documents. Called once."""
        for request in list(self._requests.values()):
            request.cancel()
        for buf in list(self.documents):
            self._close(buf)
        if self._client:
            self._service.client_gone(self._client)
            self._client = None

    @singledispatchmethod
    def _handle(self, message: protocol_types.Message) -> None:
        raise NotImplementedError(type(message).__name__)

    # -- the engine's state

    @_handle.register
    def _hello(self, message: protocol_types.Hello) -> None:
        if message.protocol != PROTOCOL:
            problem = (
                f"This plugin speaks protocol {message.protocol}, the running daemon {PROTOCOL};"
                " take the plugin that `llmd path plugin-nvim` names, then run"
                " `llmd restart --daemon`"
            )
            self._send(encode_call("state", "refused", 0.0, "", [problem]))
        elif self._client is None:
            self._client = Client(
                name="neovim",
                editor=message.editor,
                show=self._show_state,
                disconnect=self._disconnect,
                n_documents=lambda: len(self.documents),
            )
            self._service.client_connected(self._client)
        elif self._view:
            self._show_state(self._view)

    def _show_state(self, view: EngineView) -> None:
        self._view = view
        problems = list(view.problems)
        self._send(encode_call("state", view.state, view.share, view.reason, problems))

    def _disconnect(self, then: ReconnectPolicy) -> None:
        self._send(encode_call("state", "gone", 0.0, then, []))

    # -- documents

    @_handle.register
    def _open(self, message: protocol_types.Open) -> None:
        text = buffer_text(message.lines)
        document = self.documents.get(message.buf)
        if document and (document.uri, document.language) == (message.uri, message.filetype):
            document.set_text(text)
            document.version = message.version
            return
        self._close(message.buf)
        self.documents[message.buf] = open_document(
            message.uri, message.filetype, message.version, text
        )
        self._service.document_opened()

    @_handle.register
    def _change(self, message: protocol_types.Change) -> None:
        if document := self.documents.get(message.buf):
            apply(document, message)

    @_handle.register
    def _on_close(self, message: protocol_types.Close) -> None:
        self._close(message.buf)

    def _close(self, buf: int) -> None:
        if document := self.documents.pop(buf, None):
            self._service.document_closed(document)

    @_handle.register
    def _cursor(self, message: protocol_types.Cursor) -> None:
        if document := self.documents.get(message.buf):
            self._service.cursor_idle(document, _cursor_position(document, message))

    # -- completion

    @_handle.register
    def _complete(self, message: protocol_types.Complete) -> None:
        """Requests a completion. The editor gets exactly one final `show`."""
        document = self.documents.get(message.buf)
        is_current = document is not None and document.version == message.version
        if document is None or not is_current or message.id in self._requests:
            self._show(message, "", is_final=True)
            return
        request = self._requests[message.id] = self._service.complete(
            document,
            _cursor_position(document, message),
            invoked=message.invoked,
            on_partial=lambda text: self._show(message, text, is_final=False),
            alternative=message.alternative,
        )
        request.add_done_callback(lambda answer: self._finish(message, answer))

    def _finish(self, message: protocol_types.Complete, answer: Answer) -> None:
        del self._requests[message.id]
        text = "" if answer.trace.path == "superseded" else answer.text
        self._show(message, text, is_final=True)

    def _show(self, message: protocol_types.Complete, text: str, *, is_final: bool) -> None:
        position = (message.version, message.row, message.col_bytes)
        self._send(encode_call("show", message.id, *position, text, is_final))

    @_handle.register
    def _cancel(self, message: protocol_types.Cancel) -> None:
        if request := self._requests.get(message.id):
            request.cancel()

    # -- outcomes of suggestions

    @_handle.register
    def _outcome(self, message: protocol_types.OutcomeReport) -> None:
        if document := self.documents.get(message.buf):
            self._service.record_outcome(document, Outcome(message.kind, message.n_chars))

    @_handle.register
    def _accepted(self, message: protocol_types.Accepted) -> None:
        self._outcome(protocol_types.OutcomeReport(message.buf, "accepted", message.n_chars))


def _cursor_position(
    document: Document, message: protocol_types.Cursor | protocol_types.Complete
) -> Position:
    return document.text.clamp(to_position(document, (message.row, message.col_bytes)))
