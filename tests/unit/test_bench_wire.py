"""A streamed reply in pieces of any size, the HTTP it comes in, and what a daemon's trace tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from llmd.cli.bench.backend import LspPosition, OpenDocument
from llmd.cli.bench.events import Events
from llmd.cli.bench.llama_server import LlamaServerBackend, version_of
from llmd.cli.bench.lsp_client import completion_text, engine_costs
from llmd.cli.bench.stream import Stream
from llmd.errors import BadInput, DaemonError

EVENTS = b'data: {"content": "a"}\n\n: ping\n\ndata: {"content": "\\n"}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_in_pieces(size: int) -> None:
    events = Events()
    found = [
        event for at in range(0, len(EVENTS), size) for event in events.feed(EVENTS[at : at + size])
    ]
    assert found == [{"content": "a"}, {"content": "\n"}]


Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handle) -> AsyncIterator[int]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    return await reader.readexactly(int(length.split(b":")[1]))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def body(stream: Stream) -> bytes:
    head = await stream.request("POST", "/x", b"{}")
    return b"".join([piece async for piece in stream.body(head)])


async def test_a_connection_is_kept_and_replaced_once_it_ended() -> None:
    n_connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_connections
        n_connections += 1
        for _ in range(2):  # then it closes without a word, as servers do
            await read_request(reader)
            writer.write(HEAD + chunk(b"ab") + chunk(b"c") + b"0\r\n\r\n")
        writer.close()

    async with serving(handle) as port:
        stream = Stream("127.0.0.1", port)
        assert [await body(stream) for _ in range(4)] == [b"abc"] * 4
        stream.close()
    assert n_connections == 2


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc",
    ],
    ids=["length", "to the end"],
)
async def test_other_bodies(reply: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply)
        writer.close()

    async with serving(handle) as port:
        assert await body(Stream("127.0.0.1", port)) == b"abc"


COPY = OpenDocument("file:///a.py", "a.py", "def f():\n    return \n", 20)


async def test_a_cancelled_request_is_answered_so_and_the_next_one_goes_on() -> None:
    is_asked, is_closed = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if not is_asked.is_set():
            is_asked.set()
            await reader.read()
            is_closed.set()
        else:
            last = b'data: {"content": "1\\n", "timings": {"prompt_n": 7, "predicted_n": 2}}\n\n'
            writer.write(HEAD + chunk(last) + b"0\r\n\r\n")
        writer.close()

    async with serving(handle) as port:
        peer = LlamaServerBackend(f"http://127.0.0.1:{port}")
        first = peer.request(COPY)
        await is_asked.wait()
        peer.cancel()
        assert (await first).outcome == "cancelled"
        await is_closed.wait()
        second = await peer.request(COPY)
        assert (second.outcome, second.text, second.n_prefill, second.n_decoded) == (
            "model", "1", 7, 2,
        )  # fmt: skip
        assert second.ttft_ms
        assert second.total_ms >= second.ttft_ms
        peer.close()


async def test_a_refusal_and_a_silent_peer_are_told() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        told = b'{"error": {"message": "Loading model"}}'
        writer.write(b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
        writer.close()

    async with serving(handle) as port:
        with pytest.raises(DaemonError, match=r"\(503\): Loading model"):
            await LlamaServerBackend(f"http://127.0.0.1:{port}").request(COPY)
    with pytest.raises(DaemonError, match="No llama-server answers"):
        await LlamaServerBackend(f"http://127.0.0.1:{port}").read_version()


def test_a_url_that_is_none_is_told() -> None:
    with pytest.raises(BadInput, match="not http://HOST:PORT"):
        LlamaServerBackend("localhost:8012")


async def test_llama_vim_does_not_ask_with_much_right_of_the_cursor() -> None:
    copy = OpenDocument("file:///a.py", "a.py", "x = (and much more)", 5)
    assert (await LlamaServerBackend("http://127.0.0.1:9").request(copy)).outcome == "suppressed"


@pytest.mark.parametrize(
    ("props", "said"),
    [({"build_info": "b1", "model_path": "/a/b.gguf"}, "b1, b.gguf"), ({}, ""), ([], "")],
)
def test_no_folder_of_the_peers_is_told(props: object, said: str) -> None:
    assert version_of(props) == said


@pytest.mark.parametrize(
    ("result", "text"),
    [(None, ""), ([], ""), ({"items": []}, ""), ({"items": [{"insertText": "x"}]}, "x")],
)
def test_the_text_of_an_answer(result: object, text: str) -> None:
    assert completion_text(result) == text


def test_another_requests_trace_is_not_taken() -> None:
    trace = {"path": "warm", "n_prefill": 3, "n_healed": 1, "n_decoded": 9, "prefill_ms": 1.5}
    trace |= {"queue_ms": 0.5, "decode_ms": 8.0}
    why = {"line": 2, "col": 5, "trace": trace}
    spent, outcome = engine_costs(why, LspPosition(1, 4), has_text=True)
    assert (spent["n_prefill"], spent["engine_ms"], outcome) == (3, 10.0, "model")
    assert engine_costs(why, LspPosition(1, 5), has_text=True) == ({}, "memory")
    assert engine_costs(None, LspPosition(1, 5), has_text=False) == ({}, "cancelled")
