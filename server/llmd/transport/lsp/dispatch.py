"""Dispatches the JSON-RPC messages of one connection. Each request gets exactly one reply.

pygls handles the methods in `PYGLS_METHODS` and the replies to the server's own requests. All
other methods have a handler here, since pygls would keep a second copy of each document, and would
start a request only after a change that follows in the same read. A handler runs at once.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from lsprotocol import types as t
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcMethodNotFound,
    JsonRpcParseError,
    JsonRpcRequestCancelled,
    JsonRpcServerNotInitialized,
)

from llmd.completion.handle import CompletionHandle
from llmd.completion.types import Answer
from llmd.transport.connection import Send
from llmd.transport.framing import FrameSplitter, frame
from llmd.transport.lsp.server import CONVERTER, create_server, guarded, release_server, structure

PYGLS_METHODS = {t.INITIALIZE, t.INITIALIZED, t.SHUTDOWN, t.WORKSPACE_EXECUTE_COMMAND}

# Vim's channel answers numeric ids only; no client numbers its own requests from here on.
FIRST_SERVER_ID = 1 << 30

MessageId = int | str
Handler = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Deferred:
    """Answers a request once a completion is done. `to_result` makes the result of the answer."""

    handle: CompletionHandle
    to_result: Callable[[Answer], Any]


_ANSWERED = object()  # by pygls


class JsonRpc:
    """Dispatches the messages of one connection, and replies to each request exactly once.

    `handlers`: by method. Methods of LSP get typed params, methods of llmd plain params; a
    handler returns the result or a `Deferred`.
    """

    def __init__(self, send: Send) -> None:
        self.is_initialized = False
        self.is_shut_down = False
        self.is_closed = False  # no more messages are read
        self.request_id: MessageId | None = None  # of the message being handled
        self.n_body_bytes = 0  # of the message being handled
        self.handlers: dict[str, Handler] = {
            t.CANCEL_REQUEST: lambda params: self._cancel(params.id),
            t.EXIT: self._exit,
        }
        self.server = create_server(self)
        self._send = send
        self._frames = FrameSplitter()
        self._pending: dict[MessageId | None, CompletionHandle] = {}
        self._server_ids = itertools.count(FIRST_SERVER_ID)

    def is_pending(self, id_: MessageId | None) -> bool:
        """Returns whether the request waits for a completion."""
        return id_ in self._pending

    def cancel_all(self) -> None:
        for id_ in list(self._pending):
            self._cancel(id_)

    def end(self) -> None:
        self.is_closed = True
        self.cancel_all()
        release_server()

    def reject_change(self, params: Any) -> None:
        """Handles a didChange that cannot be applied: the document differs from the editor's."""
        raise NotImplementedError

    # -- messages out

    def notify(self, method: str, params: Any) -> None:
        self.server.protocol.notify(method, params)

    def send_request(self, method: str, params: Any) -> Any:
        """Returns a future of the client's result."""
        id_ = next(self._server_ids)
        return self.server.protocol.send_request(method, params, msg_id=id_)

    def write(self, body: bytes) -> None:
        """Writes one message. pygls writes through this method too."""
        self._send(frame(body))

    def close(self) -> None:
        """Does nothing; pygls requires a writer to have this method."""

    def _reply(self, id_: MessageId | None, **outcome: Any) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", "id": id_, **outcome}).encode())

    def _reject(self, id_: MessageId | None, error: JsonRpcException) -> None:
        self._reply(id_, error={"code": error.code, "message": error.message})

    # -- messages in

    def receive(self, data: bytes) -> None:
        """Handles the messages that `data` completes.

        Raises:
            FramingError: the stream cannot be read further.
        """
        for body in self._frames.feed(data):
            try:
                message = parse_message(body)
            except JsonRpcException as error:
                self._reject(None, error)
                continue
            self.request_id = message.get("id") if "method" in message else None
            self.n_body_bytes = len(body)
            self._answer(self.request_id, self._dispatch, message)
            if self.is_closed:
                return

    def _answer(self, id_: MessageId | None, function: Callable[[Any], Any], argument: Any) -> None:
        """Replies with what `function` returns or raises; not to a notification (`id_` None)."""
        try:
            result = guarded(function)(argument)
        except JsonRpcException as error:
            if id_ is not None:
                self._reject(id_, error)
            return
        if isinstance(result, Deferred):
            self._pending[id_] = result.handle
            result.handle.add_done_callback(partial(self._finish, id_, result))
        elif id_ is not None and result is not _ANSWERED:
            self._reply(id_, result=CONVERTER.unstructure(result))

    def _finish(self, id_: MessageId | None, deferred: Deferred, answer: Answer) -> None:
        if self._pending.get(id_) is deferred.handle:  # otherwise cancelled, and answered then
            del self._pending[id_]
            self._answer(id_, deferred.to_result, answer)

    def _cancel(self, id_: MessageId | None) -> None:
        if handle := self._pending.pop(id_, None):
            handle.cancel()
            self._reject(id_, JsonRpcRequestCancelled("Request was cancelled"))

    def _exit(self, _: Any) -> None:
        """Ends this connection; pygls would end the process."""
        self.is_closed = True

    def _dispatch(self, message: dict[str, Any]) -> Any:
        """
        Raises:
            JsonRpcException: the message is refused.
        """
        method = message.get("method")
        if method is not None:
            self._check(method, message)
            if method not in t.METHOD_TO_TYPES:
                return self.handlers[method](message.get("params"))
        try:
            typed = structure(self.server, message)
        except JsonRpcInvalidParams:
            if method == t.TEXT_DOCUMENT_DID_CHANGE:
                self.reject_change(message.get("params"))
            raise
        if method in self.handlers:
            return self.handlers[method](typed.params)
        self.server.protocol.handle_message(typed)
        return _ANSWERED

    def _check(self, method: str, message: dict[str, Any]) -> None:
        """
        Raises:
            JsonRpcException: the message cannot be handled, or not now.
        """
        types = t.METHOD_TO_TYPES.get(method)
        if types and (types[1] is not None) != ("id" in message):
            raise JsonRpcInvalidRequest("A request needs an id, a notification has no id")
        if self.is_shut_down and method != t.EXIT:
            raise JsonRpcInvalidRequest("The connection was shut down; only `exit` may follow")
        if method == t.INITIALIZE and self.is_initialized:
            raise JsonRpcInvalidRequest("`initialize` was sent twice")
        needs_no_initialize = method in (t.INITIALIZE, t.EXIT) or method.startswith(("llmd/", "$/"))
        if not (self.is_initialized or needs_no_initialize):
            raise JsonRpcServerNotInitialized("`initialize` must come first")
        if self.is_pending(message.get("id")):
            raise JsonRpcInvalidRequest("The id belongs to a request that has no reply yet")
        if method not in self.handlers and method not in PYGLS_METHODS:
            raise JsonRpcMethodNotFound(f"Method `{method:.40}` is not supported")


def parse_message(body: bytes) -> dict[str, Any]:
    """
    Raises:
        JsonRpcException: `body` is not a message of JSON-RPC 2.0.
    """
    try:
        message: dict[str, Any] = json.loads(body)
    except (ValueError, RecursionError):
        raise JsonRpcParseError("Message is not JSON") from None
    if problem := envelope_problem(message):
        raise JsonRpcInvalidRequest(problem)
    return message


def envelope_problem(message: object) -> str:
    """Returns why the message is not one of JSON-RPC 2.0; empty if it is."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return "Message is not a JSON-RPC 2.0 object"
    id_ = message.get("id", 0)
    if isinstance(id_, bool) or not isinstance(id_, int | str):
        return "Message id is not a number or a string"
    if not isinstance(message.get("method", ""), str) or not message.keys() & {"id", "method"}:
        return "Message has no method"
    if "method" in message and message.keys() & {"result", "error"}:
        return "Message is both a request and a reply"
    return ""
