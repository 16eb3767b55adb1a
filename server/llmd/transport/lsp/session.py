"""One client of the daemon, from its `initialize` on: what it can do, what it holds open, and what
it is told of the engine."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

from lsprotocol import types as t
from pygls.lsp.server import LanguageServer
from pygls.protocol import lsp_method

from llmd import __version__
from llmd.document import Encoding
from llmd.transport.lsp.completion import CompletionHandlers
from llmd.transport.lsp.documents import Documents
from llmd.transport.lsp.extensions import OUTCOME_COMMANDS, ExtensionMethods
from llmd.transport.lsp.jsonrpc import Rpc
from llmd.transport.lsp.progress import ProgressReporter
from llmd.transport.lsp.protocol_types import (
    TRIGGER_CHARACTERS,
    shows_inline,
    shows_progress,
    wants,
)
from llmd.transport.service import Client, ReconnectPolicy, Service

PROTOCOL = 1


class LspSession(Rpc):
    _service: Service
    _completion: CompletionHandlers

    def __init__(self, server: LanguageServer, converter: Any) -> None:
        self.documents = Documents()
        self._client: Client | None = None
        self._is_bridge = False
        super().__init__(server, converter)
        self._notices = ProgressReporter(self.notify, self.send_request)
        self.fm.feature_options[t.TEXT_DOCUMENT_INLINE_COMPLETION] = t.InlineCompletionOptions()
        for name in OUTCOME_COMMANDS:  # offered; what they do is in `own`
            self.fm.command(name)(_nothing)

    def begin(self, service: Service, writer: Any) -> None:
        self._service = service
        self._completion = CompletionHandlers(service, self.documents, self)
        self.fm.add_builtin_feature(t.TEXT_DOCUMENT_INLINE_COMPLETION, self._completion.inline)
        own = ExtensionMethods(service, self.documents, self._completion)
        for method, handler in own.handlers().items():
            self.fm.add_builtin_feature(method, handler)
        self.set_writer(writer)

    async def end(self) -> None:
        """Cancels what is under way and forgets the documents. Once."""
        await self.end_tasks()
        for uri in list(self.documents.open):
            self._close(uri)
        if self._client is not None:
            self._service.client_gone(self._client)
            self._client = None

    # -- the client

    @lsp_method(t.INITIALIZE)
    def lsp_initialize(self, params: t.InitializeParams) -> Generator[Any, Any, t.InitializeResult]:
        self._completion.wants_partial = wants(params.initialization_options, "partial")
        self._notices.is_plugin = wants(params.initialization_options, "state")
        self._notices.has_progress = shows_progress(params.capabilities)
        if not shows_inline(params.capabilities):
            self.fm.add_builtin_feature(t.TEXT_DOCUMENT_COMPLETION, self._completion.in_popup)
            self.fm.feature_options[t.TEXT_DOCUMENT_COMPLETION] = t.CompletionOptions(
                trigger_characters=list(TRIGGER_CHARACTERS)
            )
        result = yield from super().lsp_initialize(params)
        encoding = result.capabilities.position_encoding
        self.documents.encoding = cast(Encoding, str(getattr(encoding, "value", encoding)))
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
            disconnect=self._bye,
            n_documents=lambda: len(self.documents.open),
        )

    @lsp_method(t.INITIALIZED)
    def lsp_initialized(self, params: t.InitializedParams) -> Generator[Any, Any, None]:
        yield from super().lsp_initialized(params)  # type: ignore[no-untyped-call]
        self._notices.begin()

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

    def _bye(self, then: ReconnectPolicy) -> None:
        if self._is_bridge or self._notices.is_plugin:
            self.notify("llmd/bye", {"reason": "The llmd daemon was stopped", "then": then})

    # -- its documents

    @lsp_method(t.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: t.DidOpenTextDocumentParams) -> None:
        self._close(params.text_document.uri)
        self.documents.add(params.text_document)
        self._service.document_opened()

    @lsp_method(t.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: t.DidChangeTextDocumentParams) -> None:
        document = self.documents.change(params)
        if document is None or not self._is_bridge:
            return
        if snapshot := self.documents.snapshot_if_due(document, self.n_body_bytes):
            self.notify("llmd/snapshot", snapshot)

    @lsp_method(t.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: t.DidCloseTextDocumentParams) -> None:
        self._close(params.text_document.uri)

    def lose_change(self, params: Any) -> None:
        self.documents.mark_stale(params)

    def _close(self, uri: str) -> None:
        if document := self.documents.remove(uri):
            self._service.document_closed(document)


def _nothing(*_: Any) -> None:
    pass
