"""Drives llmd as an editor does: `llmd lsp` in a child process, a request after each edit, partial
texts.

The cost of a completion is read with `llmd/why` after the reply has been timed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from llmd import __version__
from llmd.cli.bench.backend import (
    CANCELLED,
    OUTCOME_BY_PATH,
    LspPosition,
    OpenDocument,
    ReplayOutcome,
    TimedCompletion,
    TokenUsage,
    position_at,
)
from llmd.cli.eval.trace_pauses import Patch, apply_patches
from llmd.completion.trace import RequestStages
from llmd.errors import DaemonError
from llmd.processes import FOLDER, module_command
from llmd.transport.framing import FrameSplitter, build_message, frame
from llmd.transport.status_types import Status, decode_answer

CHUNK_BYTES = 1 << 16
SETTLE_S, POLL_S = 10.0, 0.02
INLINE = "textDocument/inlineCompletion"
LANGUAGES = {"svelte": "svelte", "rs": "rust", "md": "markdown", "tex": "latex", "py": "python"}
_CAPABILITIES = {
    "general": {"positionEncodings": ["utf-32"]},
    "textDocument": {"inlineCompletion": {}},
}
_COSTS = ("n_prefill", "n_healed", "n_decoded", "prefill_ms")


class _PendingReply:
    """Holds times of the client's clock, 0 until the event has happened, and the reply."""

    def __init__(self) -> None:
        self.sent_s = time.monotonic()
        self.first_text_s = 0.0
        self.end_s = 0.0
        self.message: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()


class LspBackend:
    name = "llmd"
    version = f"llmd {__version__}"

    def __init__(self, bridge: asyncio.subprocess.Process) -> None:
        self._bridge = bridge
        self._in = cast("asyncio.StreamWriter", bridge.stdin)
        self._out = cast("asyncio.StreamReader", bridge.stdout)
        self._pending: dict[int, _PendingReply] = {}
        self._n_requests = 0
        self._latest_id = 0  # of a completion request
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, env: Mapping[str, str]) -> LspBackend:
        """
        Raises:
            DaemonError: no daemon answers.
        """
        pipe = asyncio.subprocess.PIPE
        bridge = await asyncio.create_subprocess_exec(
            *module_command("llmd", "lsp"), stdin=pipe, stdout=pipe, env=env, cwd=FOLDER
        )
        backend = cls(bridge)
        options = {"initializationOptions": {"llmd": {"partial": True}}}
        params = {"processId": None, "rootUri": None, "capabilities": _CAPABILITIES}
        await backend._call("initialize", params | options)
        backend._send("initialized", {})
        return backend

    async def aclose(self) -> None:
        self._in.close()
        await self._reader
        await self._bridge.wait()

    async def open(self, document: OpenDocument) -> None:
        language = LANGUAGES.get(document.name.rpartition(".")[2], "plaintext")
        item = {"uri": document.uri, "languageId": language, "version": 1, "text": document.text}
        self._send("textDocument/didOpen", {"textDocument": item})

    def edit(self, document: OpenDocument, patches: Sequence[Patch]) -> None:
        if not patches:
            return
        document.version += 1
        text, changes = document.text, []
        for position, n_deleted, inserted in patches:
            start, end = position_at(text, position), position_at(text, position + n_deleted)
            changes.append({"range": {"start": start, "end": end}, "text": inserted})
            text = apply_patches(text, [(position, n_deleted, inserted)])
        identifier = {"uri": document.uri, "version": document.version}
        params = {"textDocument": identifier, "contentChanges": changes}
        self._send("textDocument/didChange", params)

    def cursor_idle(self, document: OpenDocument) -> None:
        position = position_at(document.text, document.caret)
        self._send("llmd/cursor", {"uri": document.uri, "position": position})

    def request(self, document: OpenDocument) -> asyncio.Future[TimedCompletion]:
        position = position_at(document.text, document.caret)
        params = {"textDocument": {"uri": document.uri}, "position": position}
        reply = self._send_request(INLINE, params | {"context": {"triggerKind": 2}})
        self._latest_id = self._n_requests
        return asyncio.ensure_future(self._await_completion(document.uri, position, reply))

    def cancel(self) -> None:
        self._send("$/cancelRequest", {"id": self._latest_id})

    async def token_usage(self, n_requests: int) -> TokenUsage | None:
        """Waits up to SETTLE_S: the daemon counts a cancelled request once the engine has
        stopped."""
        end_s = time.monotonic() + SETTLE_S
        while True:
            status = decode_answer(await self._call("llmd/status", {}), Status)
            if status.counts.requests >= n_requests or time.monotonic() > end_s:
                return msgspec.convert(status, TokenUsage, from_attributes=True)
            await asyncio.sleep(POLL_S)

    async def _await_completion(
        self, uri: str, position: LspPosition, reply: _PendingReply
    ) -> TimedCompletion:
        message = await reply.message
        if "error" in message:
            return CANCELLED
        text = completion_text(message["result"])
        first_text_s = reply.first_text_s or (reply.end_s if text else 0.0)
        why = await self._call("llmd/why", {"uri": uri})
        stages = decode_answer(why, RequestStages) if why else None
        costs, outcome = engine_costs(stages, position, bool(text))
        return TimedCompletion(
            outcome=outcome,
            text=text,
            ttft_ms=1e3 * (first_text_s - reply.sent_s) if first_text_s else None,
            total_ms=1e3 * (reply.end_s - reply.sent_s),
            **costs,
        )

    def _send(self, method: str, params: dict[str, Any], **members: int) -> None:
        body = build_message(method=method, params=msgspec.to_builtins(params), **members)
        self._in.write(frame(body))

    def _send_request(self, method: str, params: dict[str, Any]) -> _PendingReply:
        self._n_requests += 1
        reply = self._pending[self._n_requests] = _PendingReply()
        self._send(method, params, id=self._n_requests)
        return reply

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        message = await self._send_request(method, params).message
        if "error" in message:
            raise DaemonError(f"The daemon refused {method}: {message['error'].get('message')}")
        return message["result"]

    async def _read(self) -> None:
        splitter = FrameSplitter()
        while chunk := await self._out.read(CHUNK_BYTES):
            now_s = time.monotonic()
            for body in splitter.feed(chunk):
                self._handle_message(msgspec.json.decode(body), now_s)
        for reply in self._pending.values():
            reply.message.set_exception(DaemonError("The connection to the daemon broke"))
        self._pending.clear()

    def _handle_message(self, message: dict[str, Any], now_s: float) -> None:
        id_ = message.get("id")
        if message.get("method") == "llmd/partial":
            params = message["params"]
            reply = self._pending.get(params["id"])
            if reply and params["text"] and not reply.first_text_s:
                reply.first_text_s = now_s
        elif "method" in message and id_ is not None:
            self._in.write(frame(build_message(id=id_, result=None)))
        elif (reply := self._pending.pop(id_, None)) is not None:  # type: ignore[arg-type]
            reply.end_s = now_s
            reply.message.set_result(message)


def completion_text(result: Any) -> str:
    """Returns the text of a reply to an inline completion; empty if the reply has none."""
    items = result["items"] if isinstance(result, dict) else result or []
    return str(items[0]["insertText"]) if items else ""


def engine_costs(
    why: RequestStages | None, position: LspPosition, has_text: bool
) -> tuple[dict[str, Any], ReplayOutcome]:
    """Returns the cost of the request at `position`, and the outcome. `why` describes the latest
    finished request; if that is another one, this request was answered from memory or not at
    all."""
    if not why or (why.line, why.col) != (position.line + 1, position.character + 1):
        return {}, "memory" if has_text else "cancelled"
    trace = why.trace
    costs = {name: getattr(trace, name) for name in _COSTS}
    engine_ms = trace.queue_ms + trace.prefill_ms + trace.decode_ms  # one after the other
    return costs | {"engine_ms": engine_ms}, OUTCOME_BY_PATH[trace.path]
