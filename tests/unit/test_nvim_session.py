"""Checks a Neovim's connection from bytes to bytes, with a service that records its calls."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest
from tests.support.fault_engine import until
from tests.support.handle import FakeHandle

from llmd.completion.types import Outcome
from llmd.document import Document, Position
from llmd.transport.nvim import serve_connection
from llmd.transport.nvim.session import PROTOCOL
from llmd.transport.service import Client, EngineView

TYPED = "the_users_own_text"
OPEN = {"buf": 1, "uri": "file:///t/a.py", "filetype": "python", "version": 1, "lines": ["ä = x"]}
ASK = {"id": 7, "buf": 1, "version": 1, "row": 0, "col_bytes": 5}


class Service:
    """Acts as the daemon. `answers`: the handles of the requests."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.requests: list[tuple[str, Position, dict[str, Any]]] = []
        self.answers: list[FakeHandle] = []
        self.closed: list[str] = []
        self.outcomes: list[Outcome] = []
        self.idle_cursors: list[Position] = []

    def client_connected(self, client: Client) -> None:
        self.clients.append(client)
        client.show(EngineView("ready", 1.0, "", ()))

    def client_gone(self, client: Client) -> None:
        self.clients.remove(client)

    def document_opened(self) -> None:
        pass

    def document_closed(self, document: Document) -> None:
        self.closed.append(document.uri)

    def cursor_idle(self, document: Document, cursor: Position) -> None:
        self.idle_cursors.append(cursor)

    def record_outcome(self, document: Document, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def complete(self, document: Document, cursor: Position, **how: Any) -> Any:
        self.requests.append((str(document.text), cursor, how))
        self.answers.append(FakeHandle())
        return self.answers[-1]


class Neovim:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._unpacker = msgpack.Unpacker()

    def notify(self, method: str, *params: Any) -> None:
        self.write(msgpack.packb([2, method, list(params)]))

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def receive(self) -> list[Any]:
        """Returns the name and arguments of the next call; other messages as they are."""
        while True:
            for message in self._unpacker:
                return message[2][1] if message[0] == 2 else message
            data = await asyncio.wait_for(self._reader.read(1 << 16), 5)
            if not data:
                raise EOFError
            self._unpacker.feed(data)

    async def is_closed(self) -> bool:
        try:
            await self.receive()
        except EOFError:
            return True
        return False

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def connected(service: Service) -> AsyncIterator[Neovim]:
    ours, theirs = socket.socketpair()
    server = asyncio.create_task(_serve(ours, service))
    editor = Neovim(*await asyncio.open_connection(sock=theirs))
    try:
        yield editor
    finally:
        editor.close()
        await server


async def _serve(peer: socket.socket, service: Any) -> None:
    await serve_connection(*await asyncio.open_connection(sock=peer), service)


async def test_hello_is_answered_each_time() -> None:
    service = Service()
    async with connected(service) as editor:
        for _ in range(2):
            editor.notify("hello", {"protocol": PROTOCOL, "editor": "Neovim 0.11.4"})
            assert await editor.receive() == ["state", "ready", 1.0, "", []]
        assert [client.editor for client in service.clients] == ["Neovim 0.11.4"]
    assert service.clients == []


async def test_a_failed_engine_is_shown_with_its_reason() -> None:
    service = Service()
    async with connected(service) as editor:
        editor.notify("hello", {"protocol": PROTOCOL, "editor": "Neovim 0.11.4"})
        await editor.receive()
        service.clients[0].show(EngineView("failed", 0.0, "", ("No model is on this machine",)))
        assert (await editor.receive())[3] == "No model is on this machine"


async def test_another_protocol_is_refused_with_the_remedy() -> None:
    async with connected(Service()) as editor:
        editor.notify("hello", {"protocol": PROTOCOL + 1})
        name, state, _, _, [problem] = await editor.receive()
        assert (name, state) == ("state", "refused")
        assert "take the plugin that `llmd path plugin-nvim` names" in problem


async def test_partial_texts_and_one_final_answer() -> None:
    service = Service()
    async with connected(service) as editor:
        editor.notify("open", OPEN)
        editor.notify(
            "change", {"buf": 1, "version": 2, "start": [0, 3], "end": [0, 4], "lines": [">"]}
        )
        editor.notify("complete", {**ASK, "version": 2, "alternative": 3})
        await until(lambda: service.requests, "the message is handled")
        text, cursor, how = service.requests[0]
        assert (text, cursor) == ("ä > x\n", Position(0, 4))
        assert (how["alternative"], how["invoked"]) == (3, False)
        how["on_partial"]("on")
        service.answers[0].answer("one")
        assert await editor.receive() == ["show", 7, 2, 0, 5, "on", False]
        assert await editor.receive() == ["show", 7, 2, 0, 5, "one", True]


@pytest.mark.parametrize(
    "ask",
    [{**ASK, "version": 2}, {**ASK, "buf": 9}],
    ids=["of another version", "of an unknown buffer"],
)
async def test_a_request_for_an_unknown_text_is_answered_empty(ask: dict[str, Any]) -> None:
    service = Service()
    async with connected(service) as editor:
        editor.notify("open", OPEN)
        editor.notify("complete", ask)
        assert (await editor.receive())[-2:] == ["", True]
    assert service.requests == []


async def test_a_cancelled_and_a_failed_request_are_answered_empty() -> None:
    service = Service()
    async with connected(service) as editor:
        editor.notify("open", OPEN)
        editor.notify("complete", ASK)
        editor.notify("cancel", {"id": 7})
        assert (await editor.receive())[-2:] == ["", True]
        editor.notify("complete", ASK)
        await until(lambda: len(service.answers) == 2, "the message is handled")
        service.answers[1].answer("", "failed")
        assert (await editor.receive())[-2:] == ["", True]


async def test_a_closed_connection_cancels_and_closes_documents() -> None:
    service = Service()
    async with connected(service) as editor:
        editor.notify("hello", {"protocol": PROTOCOL})
        editor.notify("open", OPEN)
        editor.notify("complete", ASK)
        await until(lambda: service.answers, "the message is handled")
    assert service.answers[0].is_cancelled
    assert service.closed == ["file:///t/a.py"]
    assert service.clients == []


async def test_outcomes_and_idle_cursors() -> None:
    service = Service()
    async with connected(service) as editor:
        editor.notify("open", OPEN)
        editor.notify("outcome", {"buf": 1, "kind": "shown", "n_chars": 3})
        editor.notify("accepted", {"buf": 1, "n_chars": 2})
        editor.notify("cursor", {"buf": 1, "row": 0, "col_bytes": 2})
        await until(lambda: service.idle_cursors, "the message is handled")
    assert service.outcomes == [Outcome("shown", 3), Outcome("accepted", 2)]
    assert service.idle_cursors == [Position(0, 1)]


async def test_an_unknown_method_is_ignored_and_a_request_refused() -> None:
    async with connected(Service()) as editor:
        editor.notify("later", 1, 2, 3)
        editor.write(msgpack.packb([0, 5, "complete", [ASK]]))
        kind, id_, error, result = await editor.receive()
        assert (kind, id_, result) == (1, 5, None)
        assert "takes notifications only" in error


MALFORMED = {
    "not msgpack": b"\xc1",
    "not a message": msgpack.packb([2, "open"]),
    "a key of another type": msgpack.packb([2, "open", [{1: TYPED}]]),
    "parameters of another form": msgpack.packb([2, "open", [{"buf": TYPED}]]),
    "no parameters": msgpack.packb([2, "change", []]),
    "depth": b"\x91" * 5000,
    "a row below zero": msgpack.packb([2, "cursor", [{"buf": 1, "row": -1, "col_bytes": 0}]]),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_message_ends_the_connection_with_one_log_line(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with connected(Service()) as editor:
            editor.write(data)
            assert await editor.is_closed()
    assert len(caplog.records) == 1
    assert TYPED not in caplog.text
    assert "Traceback" not in caplog.text
