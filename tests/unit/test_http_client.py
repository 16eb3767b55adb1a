"""The HTTP client against servers on the loopback that answer well, badly, or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.http_server import (
    CHUNKED,
    STREAM,
    Handle,
    answering,
    chunk,
    chunks,
    read_request,
    serving,
)  # fmt: skip

from llmd.engine.http_client import HttpClient, UnexpectedReplyError, is_loopback
from llmd.errors import DaemonError

JSON = b'{"content": "abc"}'
EVENTS = (
    b'data: {"content": "a"}\n\n: ping\n\ndata: {"content": "\xe2\x80\xa8"}\n\n'
    b"data: 3\n\ndata: [DONE]\n\n"
)


@asynccontextmanager
async def client_of(handle: Handle) -> AsyncIterator[HttpClient]:
    async with serving(handle) as url, HttpClient(url + "/root") as client:
        yield client


async def events(client: HttpClient) -> list[dict[str, Any]]:
    return [event async for event in client.stream_events("/infill", {"prompt": "secret"})]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_events_in_pieces(size: int) -> None:
    pieces = [EVENTS[at : at + size] for at in range(0, len(EVENTS), size)]
    async with client_of(answering(STREAM + chunks(*pieces))) as client:
        assert await events(client) == [{"content": "a"}, {"content": "\u2028"}]


async def test_an_event_is_yielded_when_it_arrives() -> None:
    is_received = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(STREAM + chunk(EVENTS[:24]))
        await is_received.wait()
        writer.write(chunks(b"data: {}\n\n"))
        writer.close()

    async with client_of(handle) as client:
        stream = client.stream_events("/infill", {})
        assert await anext(stream) == {"content": "a"}
        is_received.set()
        assert [event async for event in stream] == [{}]


@pytest.mark.parametrize(
    "reply",
    [
        CHUNKED + b"\r\n" + chunks(JSON[:3], JSON[3:]),
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(JSON), JSON),
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + JSON,
    ],
    ids=["chunked", "length", "to the end"],
)
async def test_bodies(reply: bytes) -> None:
    async with client_of(answering(reply)) as client:
        assert await client.post_json("/x", {}) == {"content": "abc"}


async def test_a_connection_is_kept_and_replaced_once_it_ended() -> None:
    n_connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_connections
        n_connections += 1
        for _ in range(2):  # then the server closes without a word, as servers do
            await read_request(reader)
            writer.write(CHUNKED + b"\r\n" + chunks(JSON))
        writer.close()

    async with client_of(handle) as client:
        assert [await client.get_json("/x") for _ in range(4)] == [{"content": "abc"}] * 4
    assert n_connections == 2


async def test_a_cancelled_request_closes_its_connection() -> None:
    is_asked, is_closed = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(STREAM)
        is_asked.set()
        await reader.read()
        is_closed.set()
        writer.close()

    async with client_of(handle) as client:
        running = asyncio.ensure_future(events(client))
        await is_asked.wait()
        running.cancel()
        await asyncio.wait_for(is_closed.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await running


ERROR = b'{"error": {"message": "Loading model"}}'


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%b" % (len(ERROR), ERROR),
         r"refused the request \(503\): Loading model"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", r"\(404\): no reason given"),
        (b"HTTP/1.1 302 No\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n", r"\(302\)"),
        (STREAM + chunks(b"data: {\n\n"), "sent invalid JSON"),
    ],
    ids=["error", "no reason", "elsewhere", "no JSON"],
)  # fmt: skip
async def test_a_reply_that_is_not_a_completion(reply: bytes, message: str) -> None:
    async with client_of(answering(reply)) as client:
        with pytest.raises(UnexpectedReplyError, match=message):
            await events(client)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"", "without sending a response"),
        (b"SSH-2.0-OpenSSH\r\n", "failed"),
        (STREAM + b"10\r\ndata: {}\n\n", "failed: peer closed connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "failed"),
        (CHUNKED + b"Content-Type: text/html\r\n\r\n" + chunks(b"hi"), "text/event-stream"),
    ],
    ids=["closed", "no HTTP", "half a chunk", "half a body", "no events"],
)
async def test_a_broken_peer_is_an_error(reply: bytes, message: str) -> None:
    async with client_of(answering(reply)) as client:
        with pytest.raises(DaemonError, match=message) as caught:
            await events(client)
    assert "127.0.0.1" in str(caught.value)


async def test_a_server_that_is_not_there() -> None:
    async with HttpClient("http://127.0.0.1:9") as client:
        with pytest.raises(
            DaemonError, match=r"No llama-server answers at `http://127\.0\.0\.1:9`"
        ):
            await client.get_json("/props")


async def test_a_silent_server_times_out() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with serving(handle) as url, HttpClient(url, "a model server", timeout_s=0.05) as client:
        with pytest.raises(DaemonError, match=r"a model server at .* failed: ReadTimeout"):
            await client.get_json("/props")


async def test_no_proxy_is_used_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with client_of(answering(CHUNKED + b"\r\n" + chunks(JSON))) as client:
        assert await client.get_json("/x") == {"content": "abc"}


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("localhost", True), ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True),
     ("192.168.0.1", False), ("example.org", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_what_counts_as_this_machine(host: str, is_local: bool) -> None:
    assert is_loopback(host) == is_local


async def test_neither_bodies_nor_urls_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with client_of(answering(STREAM + chunks(EVENTS))) as client:
        await events(client)
    assert "secret" not in caplog.text
    assert "/infill" not in caplog.text
