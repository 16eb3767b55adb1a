"""JSON-RPC for one connection, by pygls.

pygls negotiates capabilities and structures messages; what it does besides is overridden, because
it is made for one client per process: `exit` ends the process, finished handlers are kept for
ever, caches hold dead connections, the log holds every body, and its documents are split into
lines anew on every edit. Here documents are ours, a handler runs at once and may return a
coroutine, and every request gets exactly one reply.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, cast

from lsprotocol import types as t
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.protocol import (
    JsonRPCNotification,
    JsonRPCRequestMessage,
    JsonRPCResponseMessage,
    LanguageServerProtocol,
    default_converter,
    lsp_method,
)

from llmd.transport.lsp.protocol_types import is_change, is_notification

# Vim's channel answers numeric ids only; these are never a client's own.
FIRST_SERVER_ID = 1 << 30

INTERNAL_ERROR = -32603
PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS = -32700, -32600, -32602
NOT_INITIALIZED = -32002


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
CONVERTER = _shared_converter()


class Rpc(LanguageServerProtocol):
    """Messages in, exactly one reply out for each request."""

    def __init__(self, server: LanguageServer, converter: Any) -> None:
        self.closing = False
        self.is_initialized = False
        self.n_body_bytes = 0  # of the message at hand
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server_ids = itertools.count(FIRST_SERVER_ID)
        super().__init__(server, converter)

    async def end_tasks(self) -> None:
        self.closing = True
        await asyncio.sleep(0)  # a task that never began would not run its `finally`
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def is_at(self, id_: object) -> bool:
        """Whether the request has begun and was not answered yet."""
        return id_ in self._request_futures

    # -- messages in

    def receive(self, body: bytes) -> None:
        """Handles one message. A request that is refused here is answered here."""
        self.n_body_bytes = len(body)
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            self._refuse(None, PARSE_ERROR, "Message is not JSON")
            return
        problem = envelope_problem(data)
        if problem:
            self._refuse(None, INVALID_REQUEST, problem)
            return
        method, is_request = data.get("method"), "id" in data and "method" in data
        if is_request and is_notification(method):
            self._refuse(data["id"], INVALID_REQUEST, "This method is a notification; it has no id")
            return
        if refusal := self._out_of_turn(method):
            if is_request:
                self._refuse(data["id"], *refusal)
            return
        if method == t.TEXT_DOCUMENT_DID_CHANGE and not is_change(data.get("params")):
            self.lose_change(data.get("params"))
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
        if method is None or method == t.EXIT:
            return None
        if self._shutdown:
            return INVALID_REQUEST, "The connection was shut down; only `exit` may follow"
        if method.startswith("llmd/"):
            return None
        if method == t.INITIALIZE:
            twice = self.is_initialized
            return (INVALID_REQUEST, "`initialize` was sent twice") if twice else None
        if not self.is_initialized and not method.startswith("$/"):
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
        future = self._request_futures.get(msg_id) if isinstance(msg_id, int | str) else None
        if future is not None and cast(object, future) in self._tasks:
            asyncio.get_running_loop().call_soon(future.cancel)

    def lose_change(self, params: Any) -> None:
        """A change came that can't be read: the document is not what the editor has."""
        raise NotImplementedError

    # -- pygls's own habits, undone

    def _send_response(
        self, msg_id: int | str, result: Any | None = None, error: Any | None = None
    ) -> None:
        """Upstream tells the exception and its traceback, which may hold the user's code."""
        if error is not None and error.code == INTERNAL_ERROR:
            error = type(error)(code=INTERNAL_ERROR, message="Internal error; `llmd logs` has more")
        super()._send_response(msg_id, result, error)

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


def envelope_problem(data: object) -> str:
    if not isinstance(data, dict) or data.get("jsonrpc") != "2.0":
        return "Message is not a JSON-RPC 2.0 object"
    if "id" in data and (isinstance(data["id"], bool) or not isinstance(data["id"], int | str)):
        return "Message id is not a number or a string"
    if not isinstance(data.get("method", ""), str) or not ("id" in data or "method" in data):
        return "Message names no method"
    return ""
