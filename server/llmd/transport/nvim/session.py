"""What one Neovim says, done; and what it is told. Its documents are its own: two Neovims on one
file have two."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatchmethod

from llmd.completion.inflight import CompletionHandle
from llmd.completion.types import Answer, Outcome
from llmd.document import Document, Position, open_document
from llmd.transport.nvim import protocol_types
from llmd.transport.nvim.buffer import apply, position_of, text_of
from llmd.transport.service import Client, EngineView, ReconnectPolicy, Service

PROTOCOL = 1

Tell = Callable[..., None]


class NvimSession:
    """`tell` is given a name (`show` or `state`) and its arguments."""

    def __init__(self, service: Service, tell: Tell) -> None:
        self.documents: dict[int, Document] = {}
        self._service = service
        self._tell = tell
        self._client: Client | None = None
        self._view: EngineView | None = None
        self._requests: dict[int, CompletionHandle] = {}

    def end(self) -> None:
        """Cancels the requests in flight and closes the documents. Called once."""
        for request in list(self._requests.values()):
            request.cancel()
        for buf in list(self.documents):
            self._close(buf)
        if self._client:
            self._service.client_gone(self._client)
            self._client = None

    @singledispatchmethod
    def receive(self, message: protocol_types.Message) -> None:
        raise NotImplementedError(type(message).__name__)

    # -- the engine's state

    @receive.register
    def _hello(self, message: protocol_types.Hello) -> None:
        if message.protocol != PROTOCOL:
            self._refuse(message.protocol)
        elif self._client is None:
            self._client = Client(
                name="neovim",
                editor=message.editor,
                show=self._show_state,
                disconnect=self._bye,
                n_documents=lambda: len(self.documents),
            )
            self._service.client_connected(self._client)
        elif self._view:
            self._show_state(self._view)

    def _show_state(self, view: EngineView) -> None:
        self._view = view
        self._tell("state", view.state, view.share, view.reason, list(view.problems))

    def _refuse(self, protocol: int) -> None:
        problem = (
            f"This plugin speaks protocol {protocol}, the running daemon {PROTOCOL}; take the"
            " plugin that `llmd path plugin-nvim` names, then run `llmd restart --daemon`"
        )
        self._tell("state", "refused", 0.0, "", [problem])

    def _bye(self, then: ReconnectPolicy) -> None:
        self._tell("state", "gone", 0.0, then, [])

    # -- documents

    @receive.register
    def _open(self, message: protocol_types.Open) -> None:
        text = text_of(message.lines)
        known = self.documents.get(message.buf)
        if known and (known.uri, known.language) == (message.uri, message.filetype):
            known.set_text(text)
            known.version = message.version
            return
        self._close(message.buf)
        self.documents[message.buf] = open_document(
            message.uri, message.filetype, message.version, text
        )
        self._service.document_opened()

    @receive.register
    def _change(self, message: protocol_types.Change) -> None:
        if document := self.documents.get(message.buf):
            apply(document, message)

    @receive.register
    def _on_close(self, message: protocol_types.Close) -> None:
        self._close(message.buf)

    def _close(self, buf: int) -> None:
        if document := self.documents.pop(buf, None):
            self._service.document_closed(document)

    @receive.register
    def _cursor(self, message: protocol_types.Cursor) -> None:
        if document := self.documents.get(message.buf):
            cursor = _cursor_of(document, message)
            self._service.cursor_idle(document, cursor)

    # -- completion

    @receive.register
    def _complete(self, message: protocol_types.Complete) -> None:
        """Requests a completion. The editor gets exactly one final `show`."""
        document = self.documents.get(message.buf)
        is_current = document is not None and document.version == message.version
        if document is None or not is_current or message.id in self._requests:
            self._show(message, "", is_final=True)
            return
        request = self._requests[message.id] = self._service.complete(
            document,
            _cursor_of(document, message),
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
        self._tell("show", message.id, *position, text, is_final)

    @receive.register
    def _cancel(self, message: protocol_types.Cancel) -> None:
        if request := self._requests.get(message.id):
            request.cancel()

    # -- what became of it

    @receive.register
    def _outcome(self, message: protocol_types.OutcomeReport) -> None:
        if document := self.documents.get(message.buf):
            self._service.record_outcome(document, Outcome(message.kind, message.n_chars))

    @receive.register
    def _accepted(self, message: protocol_types.Accepted) -> None:
        self._outcome(protocol_types.OutcomeReport(message.buf, "accepted", message.n_chars))


def _cursor_of(
    document: Document, place: protocol_types.Cursor | protocol_types.Complete
) -> Position:
    return document.text.clamp(position_of(document, (place.row, place.col_bytes)))
