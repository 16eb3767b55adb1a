"""Drives a server with llama-server's `/infill`: a request after each edit, streamed, with
llama.vim's body.

The connection stays open between requests. When a newer request overtakes the running one, the
connection is closed, which is how a client tells llama-server to stop; llama-server checks between
two batches. With `is_waiting` no newer request is sent while one runs, as in llama.vim.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Any

from llmd.cli.bench.backend import CANCELLED, OpenDocument, TimedCompletion, TokenUsage
from llmd.cli.eval import llama_server
from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.trace_pauses import Patch
from llmd.engine.http_client import HttpClient, UnexpectedReplyError
from llmd.errors import DaemonError


class LlamaServerBackend:
    """Replays against a llama-server.

    `version`: the server's build, and the name of its model file.
    """

    name = "llama-server"

    def __init__(self, url: str, is_waiting: bool = False) -> None:
        """
        Raises:
            BadInput: `url` is not http://HOST:PORT.
        """
        self._http = HttpClient(llama_server.server_url(url))
        self._is_waiting = is_waiting
        self._running: asyncio.Future[TimedCompletion] | None = None
        self.version = ""

    async def read_version(self) -> None:
        """Reads `/props`, which other servers with an `/infill` may lack.

        Raises:
            DaemonError: no server answers.
        """
        with suppress(UnexpectedReplyError):
            self.version = version_of(await self._http.get_json("/props"))

    async def aclose(self) -> None:
        await self._http.close()

    async def open(self, document: OpenDocument) -> None:
        """Does nothing: every request carries the document's text."""

    def edit(self, document: OpenDocument, patches: Sequence[Patch]) -> None:
        """Does nothing, as `open`."""

    def cursor_idle(self, document: OpenDocument) -> None:
        """Does nothing. llama.vim would send chunks of other files, which are not replayed."""

    def request(self, document: OpenDocument) -> asyncio.Future[TimedCompletion]:
        before, after = document.text[: document.caret], document.text[document.caret :]
        case = EvalCase(document.uri, before, after, "", document.name, is_invoked=False)
        running = None
        if not (self._is_waiting and self._running and not self._running.done()):
            running = self._running = asyncio.ensure_future(self._complete(case))
        return asyncio.ensure_future(_result_or_cancelled(running))

    def cancel(self) -> None:
        if self._running and not self._is_waiting:
            self._running.cancel()

    async def token_usage(self, n_requests: int) -> TokenUsage | None:
        return None

    async def _complete(self, case: EvalCase) -> TimedCompletion:
        if len(case.tail.rstrip()) > llama_server.MAX_LINE_SUFFIX:  # llama.vim's rule
            return TimedCompletion(outcome="suppressed")
        body = llama_server.request_body("vim", case) | {"stream": True}
        sent_s, first_text_s = time.monotonic(), 0.0
        texts, last = [], {}
        async for event in self._http.stream_events("/infill", body):
            last = event
            if text := str(event.get("content") or ""):
                texts.append(text)
                first_text_s = first_text_s or time.monotonic()
        if not last:
            raise DaemonError("llama-server sent no event; expected a stream of events")
        prefill_ms = llama_server.timing(last, "prompt_ms")
        return TimedCompletion(
            outcome="model",
            text=llama_server.inserted_text(case, "".join(texts)),
            ttft_ms=1e3 * (first_text_s - sent_s) if first_text_s else None,
            total_ms=1e3 * (time.monotonic() - sent_s),
            n_prefill=int(llama_server.timing(last, "prompt_n")),
            n_decoded=int(llama_server.timing(last, "predicted_n")),
            prefill_ms=prefill_ms,
            engine_ms=prefill_ms + llama_server.timing(last, "predicted_ms"),
        )


async def _result_or_cancelled(
    running: asyncio.Future[TimedCompletion] | None,
) -> TimedCompletion:
    if running is None:
        return CANCELLED
    await asyncio.wait([running])
    return CANCELLED if running.cancelled() else running.result()


def version_of(props: Any) -> str:
    """Returns the build of a reply to `/props`, and the model's file name without folders."""
    fields = props if isinstance(props, dict) else {}
    model = PurePath(str(fields.get("model_path") or "")).name
    return ", ".join(filter(None, (str(fields.get("build_info") or ""), model)))
