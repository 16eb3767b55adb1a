"""Handles llmd's own methods, which extend LSP. docs/PROTOCOL.md documents their params."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from lsprotocol import types as t
from pygls.exceptions import JsonRpcInvalidParams

from llmd.completion.types import Outcome, OutcomeKind
from llmd.document import Position, open_document
from llmd.transport.lsp.completion import CompletionHandlers
from llmd.transport.lsp.dispatch import Deferred
from llmd.transport.lsp.documents import Documents, replace_surrogates, to_snapshot
from llmd.transport.service import ReconnectPolicy, Service
from llmd.transport.status_types import CompleteParams, Completion

OUTCOME_COMMANDS: dict[str, OutcomeKind] = {
    "llmd.accepted": "accepted",
    "llmd.rejected": "rejected",
}

T = TypeVar("T")


class _Place(msgspec.Struct):
    """Represents an LSP position."""

    line: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    character: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class _CursorParams(msgspec.Struct):
    """Parameters of `llmd/cursor`."""

    uri: str
    position: _Place


class _AlternativeParams(_CursorParams):
    """Parameters of `llmd/alternative`."""

    n: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class _OutcomeParams(msgspec.Struct):
    """Parameters of `llmd/outcome`."""

    uri: str
    kind: OutcomeKind
    n_chars: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class ExtensionMethods:
    def __init__(
        self, service: Service, documents: Documents, completion: CompletionHandlers
    ) -> None:
        self._service = service
        self._documents = documents
        self._completion = completion

    def commands(self) -> Mapping[str, Callable[..., None]]:
        """Returns the commands of `workspace/executeCommand`: a uri and a number of characters."""
        return {name: partial(self._run_command, kind) for name, kind in OUTCOME_COMMANDS.items()}

    def handlers(self) -> Mapping[str, Callable[[Any], Any]]:
        return {
            "llmd/cursor": self._cursor,
            "llmd/alternative": self._alternative,
            "llmd/outcome": self._record_outcome,
            "llmd/status": lambda _: msgspec.to_builtins(self._service.status()),
            "llmd/stop": self._stop,
            "llmd/restart": lambda _: self._service.restart(),
            "llmd/use": lambda _: self._service.use(),
            "llmd/why": self._why,
            "llmd/config": lambda _: msgspec.to_builtins(self._service.settings()),
            "llmd/snapshot": self._snapshot,
            "llmd/complete": self._complete,
        }

    def _cursor(self, params: Any) -> None:
        """Notes that the cursor rests, or that insert mode has begun. Ignores invalid params."""
        try:
            typed = msgspec.convert(params, _CursorParams)
        except msgspec.ValidationError:
            return
        if document := self._documents.get(typed.uri):
            cursor = self._documents.from_client(document, _position(typed))
            self._service.cursor_idle(document, cursor)

    def _alternative(self, params: Any) -> Deferred | None:
        typed = _convert(params, _AlternativeParams)
        document = self._documents.get(typed.uri)
        if document is None:
            return None
        cursor = self._documents.from_client(document, _position(typed))
        return self._completion.alternative(document, cursor, typed.n)

    def _run_command(self, kind: OutcomeKind, *arguments: Any) -> None:
        uri, n_chars, *_ = [*arguments, "", 0]
        self._record_outcome({"uri": uri, "kind": kind, "n_chars": n_chars})

    def _record_outcome(self, params: Any) -> None:
        """Ignores invalid params and documents that are not open."""
        try:
            typed = msgspec.convert(params, _OutcomeParams)
        except msgspec.ValidationError:
            return
        if document := self._documents.open.get(typed.uri):
            self._service.record_outcome(document, Outcome(typed.kind, typed.n_chars))

    def _stop(self, params: Any) -> None:
        restarts = isinstance(params, dict) and params.get("restart") is True
        then: ReconnectPolicy = "restart" if restarts else "stay"
        # Later, so that the reply is written first.
        asyncio.get_running_loop().call_soon(self._service.stop, then)

    def _why(self, params: Any) -> Any:
        uri = params.get("uri") if isinstance(params, dict) else ""
        return msgspec.to_builtins(self._service.why(uri if isinstance(uri, str) else ""))

    def _snapshot(self, params: Any) -> dict[str, Any] | None:
        """Returns a document's text, for checks; null if the document is not open."""
        uri = params.get("uri") if isinstance(params, dict) else None
        document = self._documents.open.get(uri) if isinstance(uri, str) else None
        return to_snapshot(document) if document else None

    def _complete(self, params: Any) -> Deferred:
        typed = _convert(params, CompleteParams)
        text = replace_surrogates(typed.text)
        document = open_document(typed.uri, typed.languageId, 0, text, is_reused=False)
        cursor = document.text.clamp(Position(typed.line, typed.col))
        handle = self._service.complete(document, cursor, invoked=True)
        return Deferred(
            handle, lambda answer: msgspec.to_builtins(Completion(answer.text, answer.trace))
        )


def _position(params: _CursorParams) -> t.Position:
    return t.Position(params.position.line, params.position.character)


def _convert(params: Any, kind: type[T]) -> T:
    """
    Raises:
        JsonRpcInvalidParams: `params` are not of that kind.
    """
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        raise JsonRpcInvalidParams(str(error)) from None
