"""Serves one LSP client: its lifecycle, its capabilities, its documents, and the engine's state
that the client shows."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal, cast

from lsprotocol import types as t

from llmd import __version__
from llmd.document import Encoding
from llmd.transport.connection import Send, serve
from llmd.transport.lsp.completion import TRIGGER_CHARACTERS, CompletionHandlers
from llmd.transport.lsp.dispatch import Handler, JsonRpc
from llmd.transport.lsp.documents import Documents
from llmd.transport.lsp.extensions import ExtensionMethods
from llmd.transport.lsp.progress import ProgressReporter
from llmd.transport.lsp.server import guarded
from llmd.transport.service import Client, ReconnectPolicy, Service

PROTOCOL = 1

_log = logging.getLogger("llmd.lsp")


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service
) -> None:
    """Serves until either peer closes. Nothing that a client sends raises an error here."""
    await serve(reader, writer, lambda send: LspSession(service, send), _log)


class LspSession(JsonRpc):
    """Serves one LSP client.

    `send` writes bytes to the client.
    """

    def __init__(self, service: Service, send: Send) -> None:
        super().__init__(send)
        self.documents = Documents()
        self._service = service
        self._client: Client | None = None
        self._is_bridge = False
        self._completion = CompletionHandlers(service, self.documents, self)
        self._progress = ProgressReporter(self.notify, self.send_request)
        extensions = ExtensionMethods(service, self.documents, self._completion)
        self.handlers |= {
            t.TEXT_DOCUMENT_DID_OPEN: self._did_open,
            t.TEXT_DOCUMENT_DID_CHANGE: self._did_change,
            t.TEXT_DOCUMENT_DID_CLOSE: lambda params: self._close(params.text_document.uri),
            "llmd/hello": self._hello,
            **extensions.handlers(),
        }
        self._offer(
            t.TEXT_DOCUMENT_INLINE_COMPLETION, self._completion.inline, t.InlineCompletionOptions()
        )
        self.server.feature(t.INITIALIZE)(guarded(self._initialize))
        self.server.feature(t.INITIALIZED)(guarded(lambda _: self._progress.begin()))
        self.server.feature(t.SHUTDOWN)(guarded(self._shut_down))
        for name, command in extensions.commands().items():
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
        self._completion.has_partial = _has_option(params, "partial")
        self._progress.is_plugin = _has_option(params, "state")
        window, text = params.capabilities.window, params.capabilities.text_document
        self._progress.has_progress = bool(window and window.work_done_progress)
        if text is None or text.inline_completion is None:
            self._offer(
                t.TEXT_DOCUMENT_COMPLETION,
                self._completion.in_popup,
                t.CompletionOptions(trigger_characters=list(TRIGGER_CHARACTERS)),
            )
        encoding = self.server.workspace.position_encoding
        self.documents.encoding = cast(Encoding, str(getattr(encoding, "value", encoding)))
        client = self._to_client(params.client_info)
        self._service.client_connected(client)
        self._client = client
        self.is_initialized = True

    def _to_client(self, info: t.ClientInfo | None) -> Client:
        name, version = (info.name, info.version or "") if info else ("", "")
        return Client(
            name=name,
            editor=f"{name} {version}".strip(),
            show=self._progress.show,
            disconnect=self._disconnect,
            n_documents=lambda: len(self.documents.open),
        )

    def _shut_down(self, _: None) -> None:
        self.is_shut_down = True
        self.cancel_all()

    def _hello(self, params: Any) -> None:
        self._is_bridge = True
        hello = params if isinstance(params, dict) else {}
        if (hello.get("protocol"), hello.get("version")) == (PROTOCOL, __version__):
            return
        reason = (
            f"This editor's llmd is version {hello.get('version')!s:.40}, the running daemon is "
            f"{__version__}; restart the language server in the editor, or, if the daemon is the "
            "older one, run `llmd restart --daemon`"
        )
        self.notify("llmd/bye", {"reason": reason, "then": "leave"})
        self.is_closed = True

    def _disconnect(self, then: ReconnectPolicy) -> None:
        if self._is_bridge or self._progress.is_plugin:
            self.notify("llmd/bye", {"reason": "The llmd daemon was stopped", "then": then})

    # -- documents

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

    def reject_change(self, params: Any) -> None:
        self.documents.mark_stale(params)

    def _close(self, uri: str) -> None:
        if document := self.documents.remove(uri):
            self._service.document_closed(document)


def _has_option(params: t.InitializeParams, name: Literal["partial", "state"]) -> bool:
    """Returns whether `initializationOptions.llmd` sets the option to true."""
    options = params.initialization_options
    llmd_options = options.get("llmd") if isinstance(options, dict) else None
    return isinstance(llmd_options, dict) and llmd_options.get(name) is True
