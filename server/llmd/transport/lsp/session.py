"""One client of the daemon, from its `initialize` on: what it can do, what it holds open, and what
it is told of the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from lsprotocol import types as t

from llmd import __version__
from llmd.document import Encoding
from llmd.transport.lsp.completion import CompletionHandlers
from llmd.transport.lsp.documents import Documents
from llmd.transport.lsp.extensions import ExtensionMethods
from llmd.transport.lsp.jsonrpc import Handler, JsonRpc
from llmd.transport.lsp.progress import ProgressReporter
from llmd.transport.lsp.protocol_types import (
    TRIGGER_CHARACTERS,
    shows_inline,
    shows_progress,
    wants,
)
from llmd.transport.lsp.server import guarded
from llmd.transport.service import Client, ReconnectPolicy, Service

PROTOCOL = 1


class LspSession(JsonRpc):
    """`send` writes bytes to the client."""

    def __init__(self, service: Service, send: Callable[[bytes], None]) -> None:
        super().__init__(send)
        self.documents = Documents()
        self._service = service
        self._client: Client | None = None
        self._is_bridge = False
        self._completion = CompletionHandlers(service, self.documents, self)
        self._notices = ProgressReporter(self.notify, self.send_request)
        own = ExtensionMethods(service, self.documents, self._completion)
        self.handlers |= {
            t.TEXT_DOCUMENT_DID_OPEN: self._did_open,
            t.TEXT_DOCUMENT_DID_CHANGE: self._did_change,
            t.TEXT_DOCUMENT_DID_CLOSE: self._did_close,
            "llmd/hello": self._hello,
            **own.handlers(),
        }
        self._offer(
            t.TEXT_DOCUMENT_INLINE_COMPLETION, self._completion.inline, t.InlineCompletionOptions()
        )
        self.server.feature(t.INITIALIZE)(guarded(self._initialize))
        self.server.feature(t.INITIALIZED)(guarded(self._initialized))
        self.server.feature(t.SHUTDOWN)(guarded(self._shut_down))
        for name, command in own.commands().items():
            self.server.command(name)(guarded(command))

    def _offer(self, method: str, handler: Handler, options: Any) -> None:
        """Adds a method that pygls advertises to the client."""
        self.handlers[method] = handler
        self.server.feature(method, options)(guarded(handler))

    def end(self) -> None:
        """Cancels the pending requests and closes the documents. Called once."""
        super().end()
        for uri in list(self.documents.open):
            self._close(uri)
        if self._client is not None:
            self._service.client_gone(self._client)
            self._client = None

    # -- the client

    def _initialize(self, params: t.InitializeParams) -> None:
        """Runs before pygls collects the capabilities that the reply offers."""
        self._completion.wants_partial = wants(params.initialization_options, "partial")
        self._notices.is_plugin = wants(params.initialization_options, "state")
        self._notices.has_progress = shows_progress(params.capabilities)
        if not shows_inline(params.capabilities):
            self._offer(
                t.TEXT_DOCUMENT_COMPLETION,
                self._completion.in_popup,
                t.CompletionOptions(trigger_characters=list(TRIGGER_CHARACTERS)),
            )
        encoding = self.server.workspace.position_encoding
        self.documents.encoding = cast(Encoding, str(getattr(encoding, "value", encoding)))
        client = self._as_client(params.client_info)
        self._service.client_connected(client)
        self._client = client
        self.is_initialized = True

    def _as_client(self, info: t.ClientInfo | None) -> Client:
        name, version = (info.name, info.version or "") if info else ("", "")
        return Client(
            name=name,
            editor=f"{name} {version}".strip(),
            show=self._notices.show,
            disconnect=self._bye,
            n_documents=lambda: len(self.documents.open),
        )

    def _initialized(self, _: t.InitializedParams) -> None:
        self._notices.begin()

    def _shut_down(self, _: None) -> None:
        self.is_shut_down = True
        self.cancel_all()

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
        self.is_closed = True

    def _bye(self, then: ReconnectPolicy) -> None:
        if self._is_bridge or self._notices.is_plugin:
            self.notify("llmd/bye", {"reason": "The llmd daemon was stopped", "then": then})

    # -- its documents

    def _did_open(self, params: t.DidOpenTextDocumentParams) -> None:
        self._close(params.text_document.uri)
        self.documents.add(params.text_document)
        self._service.document_opened()

    def _did_change(self, params: t.DidChangeTextDocumentParams) -> None:
        document = self.documents.change(params)
        if document is None or not self._is_bridge:
            return
        if snapshot := self.documents.snapshot_if_due(document, self.n_body_bytes):
            self.notify("llmd/snapshot", snapshot)

    def _did_close(self, params: t.DidCloseTextDocumentParams) -> None:
        self._close(params.text_document.uri)

    def reject_change(self, params: Any) -> None:
        self.documents.mark_stale(params)

    def _close(self, uri: str) -> None:
        if document := self.documents.remove(uri):
            self._service.document_closed(document)
