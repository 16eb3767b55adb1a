"""A server with llama-server's `/infill`, asked at each key with llama.vim's body, streamed.

Its connection is kept from one request to the next. A request that a newer one overtakes ends by
closing it, which is how a client tells llama-server to stop; it looks between two batches. Or no
newer one is sent while it runs (`waits`), which is what llama.vim does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import msgspec

from llmd.cli.bench.backend import CANCELLED, OpenDocument, TimedCompletion, TokenUsage
from llmd.cli.bench.events import Events
from llmd.cli.bench.stream import Head, Stream
from llmd.cli.eval import llama_server
from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.settings_grid import EmulatedClient
from llmd.cli.eval.trace_pauses import Patch
from llmd.errors import DaemonError

CLIENT: EmulatedClient = "vim"
_OK = 200
_FAULTS = (OSError, EOFError, ValueError)  # no connection, no HTTP, no JSON


class LlamaServerBackend:
    """`version`: what the server says it is, and its model's file."""

    name = "llama-server"

    def __init__(self, url: str, waits: bool = False) -> None:
        """
        Raises:
            BadInput: `url` is no URL of HTTP.
        """
        self._url, self._waits = url, waits
        self._host, self._port, self._root = llama_server.address(url)
        self._stream = Stream(self._host, self._port)
        self._running: asyncio.Future[TimedCompletion] | None = None
        self.version = ""

    async def read_version(self) -> None:
        """
        Raises:
            DaemonError: nobody answers.
        """
        try:
            head = await self._stream.request("GET", f"{self._root}/props")
            told = b"".join([piece async for piece in self._stream.body(head)])
            self.version = version_of(msgspec.json.decode(told))
        except msgspec.MsgspecError:  # some other server with an /infill
            pass
        except _FAULTS as error:
            raise self._silent(error) from None

    def close(self) -> None:
        self._stream.close()

    # -- a side

    async def open(self, document: OpenDocument) -> None:
        """Every request carries its text."""

    def edit(self, document: OpenDocument, patches: Sequence[Patch]) -> None:
        pass

    def cursor_idle(self, document: OpenDocument) -> None:
        """llama.vim sends its ring of other files' chunks then, which are not played here."""

    def request(self, document: OpenDocument) -> asyncio.Future[TimedCompletion]:
        before, after = document.text[: document.caret], document.text[document.caret :]
        place = EvalCase(document.uri, before, after, "", document.name, is_invoked=False)
        if self._waits and self._running and not self._running.done():
            return asyncio.ensure_future(_nothing())
        self._running = asyncio.ensure_future(self._answer(place))
        return self._running

    def cancel(self) -> None:
        if self._waits:
            return
        self._stream.close()
        self._stream = Stream(self._host, self._port)

    async def token_usage(self, n_asked: int) -> TokenUsage | None:
        return None

    async def _answer(self, place: EvalCase) -> TimedCompletion:
        if len(place.tail.rstrip()) > llama_server.MAX_LINE_SUFFIX:  # llama.vim's rule
            return TimedCompletion(outcome="suppressed")
        body = msgspec.json.encode(llama_server.request_body(CLIENT, place) | {"stream": True})
        stream, reading = self._stream, _Reading()
        try:
            head = await stream.request("POST", f"{self._root}/infill", body)
            async for piece in stream.body(head):
                reading.take(head, piece)
        except _FAULTS as error:
            if stream is not self._stream:
                return CANCELLED
            raise self._silent(error) from None
        return reading.answer(place)

    def _silent(self, error: Exception) -> DaemonError:
        return DaemonError(f"No llama-server answers at `{self._url}`: {error or 'it closed'}")


async def _nothing() -> TimedCompletion:
    return CANCELLED


class _Reading:
    """One reply as it comes."""

    def __init__(self) -> None:
        self._sent_s = time.monotonic()
        self._first_s = 0.0  # of the first text
        self._events = Events()
        self._texts: list[str] = []
        self._last: dict[str, Any] = {}

    def take(self, head: Head, piece: bytes) -> None:
        """
        Raises:
            DaemonError: a refusal.
            msgspec.MsgspecError: no JSON.
        """
        now_s = time.monotonic()
        if head.status != _OK:
            said = f"llama-server refuses llama.vim's body ({head.status})"
            raise DaemonError(f"{said}: {_reason(piece)}")
        for event in self._events.feed(piece):
            self._last = event
            if text := str(event.get("content") or ""):
                self._texts.append(text)
                self._first_s = self._first_s or now_s

    def answer(self, place: EvalCase) -> TimedCompletion:
        """
        Raises:
            DaemonError: the reply held no event.
        """
        if not self._last:
            raise DaemonError("llama-server answered without an event; expected a stream of them")
        first_s, last = self._first_s, self._last
        return TimedCompletion(
            outcome="model",
            text=llama_server.inserted_text(place, "".join(self._texts)),
            ttft_ms=1e3 * (first_s - self._sent_s) if first_s else None,
            total_ms=1e3 * (time.monotonic() - self._sent_s),
            n_prefill=int(llama_server.timing(last, "prompt_n")),
            n_decoded=int(llama_server.timing(last, "predicted_n")),
            prefill_ms=llama_server.timing(last, "prompt_ms"),
            engine_ms=llama_server.timing(last, "prompt_ms")
            + llama_server.timing(last, "predicted_ms"),
        )


def _reason(piece: bytes) -> str:
    try:
        return str(msgspec.json.decode(piece)["error"]["message"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return "it gives no reason"


def version_of(props: Any) -> str:
    """Of what `/props` answers: the build, and the model's file without its folders."""
    found = props if isinstance(props, dict) else {}
    model = PurePath(str(found.get("model_path") or "")).name
    return ", ".join(filter(None, (str(found.get("build_info") or ""), model)))
