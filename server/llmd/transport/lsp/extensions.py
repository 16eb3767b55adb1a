"""llmd's own messages: what LSP has no words for, by method. docs/PROTOCOL.md has their shapes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from lsprotocol import types as t
from pygls.exceptions import JsonRpcInvalidParams

from llmd.completion.types import Answer, Outcome, OutcomeKind
from llmd.document import Position, open_document
from llmd.transport.lsp.completion import CompletionHandlers
from llmd.transport.lsp.documents import Documents, snapshot_of
from llmd.transport.lsp.jsonrpc import Deferred
from llmd.transport.lsp.protocol_types import valid
from llmd.transport.service import ReconnectPolicy, Service

OUTCOME_COMMANDS: dict[str, OutcomeKind] = {
    "llmd.accepted": "accepted",
    "llmd.rejected": "rejected",
}

T = TypeVar("T")


class _Place(msgspec.Struct):
    """An LSP position."""

    line: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    character: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class _CursorParams(msgspec.Struct):
    """`llmd/cursor`."""

    uri: str
    position: _Place


class _AlternativeParams(_CursorParams):
    """`llmd/alternative`."""

    n: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class _OutcomeParams(msgspec.Struct):
    """`llmd/outcome`."""

    uri: str
    kind: OutcomeKind
    n_chars: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class _CompleteParams(msgspec.Struct):
    """`llmd/complete`: a document that is not open; `col` counts characters from zero."""

    uri: str
    text: str
    line: int
    col: int
    languageId: str = ""  # noqa: N815 - a name on the wire


class ExtensionMethods:
    def __init__(
        self, service: Service, documents: Documents, completion: CompletionHandlers
    ) -> None:
        self._service = service
        self._documents = documents
        self._completion = completion

    def commands(self) -> Mapping[str, Callable[..., None]]:
        """Returns the commands of `workspace/executeCommand`: a uri and a number of characters."""
        return {name: partial(self._count, kind) for name, kind in OUTCOME_COMMANDS.items()}

    def handlers(self) -> Mapping[str, Callable[[Any], Any]]:
        return {
            "llmd/cursor": self._cursor,
            "llmd/alternative": self._alternative,
            "llmd/outcome": self._note,
            "llmd/status": lambda _: self._service.status(),
            "llmd/stop": self._stop,
            "llmd/restart": lambda _: self._service.restart(),
            "llmd/use": lambda _: self._service.use(),
            "llmd/why": self._why,
            "llmd/config": lambda _: self._service.settings(),
            "llmd/snapshot": self._snapshot,
            "llmd/complete": self._complete,
        }

    def _cursor(self, params: Any) -> None:
        """The cursor has come to rest, or insert mode has begun."""
        try:
            found = msgspec.convert(params, _CursorParams)
        except msgspec.ValidationError:
            return
        if document := self._documents.get(found.uri):
            cursor = self._documents.from_client(document, _position(found))
            self._service.cursor_idle(document, cursor)

    def _alternative(self, params: Any) -> Deferred | None:
        asked = _convert(params, _AlternativeParams)
        document = self._documents.get(asked.uri)
        if document is None:
            return None
        cursor = self._documents.from_client(document, _position(asked))
        return self._completion.alternative(document, cursor, asked.n)

    def _count(self, kind: OutcomeKind, *arguments: Any) -> None:
        uri, n_chars, *_ = [*arguments, "", 0]
        self._note({"uri": uri, "kind": kind, "n_chars": n_chars})

    def _note(self, params: Any) -> None:
        """One that cannot be read, or of a document that was closed, is not counted."""
        try:
            found = msgspec.convert(params, _OutcomeParams)
        except msgspec.ValidationError:
            return
        if document := self._documents.open.get(found.uri):
            self._service.record_outcome(document, Outcome(found.kind, found.n_chars))

    def _stop(self, params: Any) -> None:
        restarts = isinstance(params, dict) and params.get("restart") is True
        then: ReconnectPolicy = "restart" if restarts else "stay"
        # The reply is written first.
        asyncio.get_running_loop().call_soon(self._service.stop, then)

    def _why(self, params: Any) -> dict[str, Any] | None:
        uri = params.get("uri") if isinstance(params, dict) else ""
        return self._service.why(uri if isinstance(uri, str) else "")

    def _snapshot(self, params: Any) -> dict[str, Any] | None:
        """What we hold of a document of this connection; null where it is not open."""
        uri = params.get("uri") if isinstance(params, dict) else None
        document = self._documents.open.get(uri) if isinstance(uri, str) else None
        return snapshot_of(document) if document else None

    def _complete(self, params: Any) -> Deferred:
        asked = _convert(params, _CompleteParams)
        document = open_document(asked.uri, asked.languageId, 0, valid(asked.text), is_kept=False)
        cursor = document.text.clamp(Position(asked.line, asked.col))
        return Deferred(self._service.complete(document, cursor, invoked=True), _traced)


def _traced(answer: Answer) -> dict[str, Any]:
    return {"text": answer.text, "trace": msgspec.to_builtins(answer.trace)}


def _position(params: _CursorParams) -> t.Position:
    return t.Position(params.position.line, params.position.character)


def _convert(params: Any, kind: type[T]) -> T:
    """
    Raises:
        JsonRpcInvalidParams: they are not of that kind.
    """
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        raise JsonRpcInvalidParams(str(error)) from None
