"""Bytes and messages that break the protocol: each harms its own connection at most (reliability
rows 52 to 54)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmd.transport.framing import frame
from tests.support.daemon import RunningDaemon
from tests.support.rawlsp import (
    CODE,
    HEAD,
    INLINE_METHOD,
    MB,
    RawLsp,
    inline_params,
    new_uri,
    request,
    rss_bytes,
)

pytestmark = pytest.mark.usefixtures("survives")


# -- row 52: frames


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"Content-Type: text/plain\r\n\r\n{}", id="no length"),
        pytest.param(b"\r\n\r\n{}", id="no header"),
        pytest.param(HEAD + b"-1\r\n\r\n{}", id="negative"),
        pytest.param(HEAD + b"\r\n\r\n{}", id="empty"),
        pytest.param(HEAD + b"0x10\r\n\r\n{}", id="no number"),
        pytest.param(HEAD + b"1e3\r\n\r\n{}", id="float"),
        pytest.param(HEAD + "٣".encode() + b"\r\n\r\n{}", id="arabic digit"),
        pytest.param(HEAD + b"67108865\r\n\r\n", id="over the limit"),
        pytest.param(HEAD + b"999999999999\r\n\r\n", id="a terabyte"),
        pytest.param(HEAD + b"9" * 5000 + b"\r\n\r\n", id="5000 digits"),
        pytest.param(HEAD + b"2\r\n" + HEAD + b"2\r\n\r\n{}", id="twice"),
        pytest.param(HEAD + b"2\n\n{}", id="bare newline"),
        pytest.param(HEAD + b"2\r\nno colon\r\n\r\n{}", id="no colon"),
        pytest.param(b"X-A: " + b"a" * (64 << 10), id="header of 64 KiB"),
        pytest.param(HEAD + b"2\r\nX-A: " + b"a" * (64 << 10) + b"\r\n\r\n{}", id="padded"),
        pytest.param(b"\0" * 100_000, id="zeros"),
    ],
)
def test_a_frame_that_cannot_be_found_closes_its_connection(
    daemon: RunningDaemon, client: RawLsp, data: bytes
) -> None:
    before_bytes = rss_bytes(daemon)
    with RawLsp(daemon) as other:
        other.initialize()
        uri = other.open()
        client.write_or_lose(data)
        assert client.is_closed()
        assert other.inline(uri)
    assert rss_bytes(daemon) - before_bytes < 16 * MB


def test_bytes_may_come_one_by_one(client: RawLsp) -> None:
    """Row 52."""
    text = {"textDocument": {"uri": new_uri(), "languageId": "py", "version": 1, "text": CODE}}
    opened = {"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": text}
    for byte in frame(json.dumps(opened).encode()):
        client.write(bytes([byte]))
    assert client.inline(str(text["textDocument"]["uri"]))


@pytest.mark.parametrize("header", ["content-length:{n}", "CONTENT-LENGTH :\t{n}\r\nX-Other: 1"])
def test_headers_may_be_written_otherwise(client: RawLsp, header: str) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": "h", "method": "llmd/status"}).encode()
    client.write(header.format(n=len(body)).encode() + b"\r\n\r\n" + body)
    assert client.reply("h")["result"]["state"] == "ready"


@pytest.mark.parametrize("data", [b"\0", b"GET / HTTP/1.1\r\n\r\n", b"{}", b"\x16\x03\x01", b"\n"])
def test_a_first_byte_of_no_protocol_closes(daemon: RunningDaemon, data: bytes) -> None:
    with RawLsp(daemon) as client:
        client.write_or_lose(data)
        assert client.is_closed()


# -- row 53: messages


def _nested(depth: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":"q","method":"m","params":%b%b}' % (b"[" * depth, b"]" * depth)


@pytest.mark.parametrize(
    ("body", "id_", "code"),
    [
        pytest.param(b"", None, -32700, id="empty"),
        pytest.param(b"{", None, -32700, id="cut"),
        pytest.param(b"\xff\xfe\xfd", None, -32700, id="not UTF-8"),
        pytest.param(b"[" * 100_000, None, -32700, id="100,000 brackets"),
        pytest.param(_nested(100_000), None, -32700, id="100,000 pairs of brackets"),
        pytest.param(b'{"id":' + b"9" * 5000 + b"}", None, -32700, id="5000 digits"),
        pytest.param(b"[]", None, -32600, id="no batch"),
        pytest.param(b"[" + request(method="llmd/status") + b"]", None, -32600, id="batch"),
        pytest.param(b"null", None, -32600, id="null"),
        pytest.param(request(method=7), None, -32600, id="method is a number"),
        pytest.param(request(), "q", None, id="a reply to nothing"),
        pytest.param(request(jsonrpc="1.0", method="m"), None, -32600, id="JSON-RPC 1.0"),
        pytest.param(request(id=None, method="llmd/status"), None, -32600, id="id is null"),
        pytest.param(request(id=1.5, method="llmd/status"), None, -32600, id="id is a float"),
        pytest.param(request(id=True, method="llmd/status"), None, -32600, id="id is a bool"),
        pytest.param(request(id={}, method="llmd/status"), None, -32600, id="id is an object"),
        pytest.param(request(method="no/such"), "q", -32601, id="unknown method"),
        pytest.param(request(method="__init__"), "q", -32601, id="method of Python"),
        pytest.param(request(method=INLINE_METHOD), "q", -32602, id="no params"),
        pytest.param(request(method=INLINE_METHOD, params=[1]), "q", -32602, id="params: array"),
        pytest.param(request(method=INLINE_METHOD, params={}), "q", -32602, id="params: empty"),
        pytest.param(request(method="llmd/complete", params=3), "q", -32602, id="our own params"),
        pytest.param(request(method="initialize", params={}), "q", -32600, id="initialize again"),
    ],
)
def test_a_message_that_makes_no_sense_is_refused(
    client: RawLsp, body: bytes, id_: str | None, code: int | None
) -> None:
    """And the connection goes on."""
    client.body(body)
    if code is not None:
        assert client.error_code(id_) == code
    assert client.settle() == {1: 1} | ({id_: 1} if code is not None else {})
    assert client.inline(client.open())


@pytest.mark.parametrize("depth", [50, 200, 400, 600, 800, 900, 960, 990])
@pytest.mark.parametrize("method", ["workspace/executeCommand", "llmd/why", "no/such"])
def test_depth_that_json_still_takes_ends_nothing(client: RawLsp, depth: int, method: str) -> None:
    """Row 53: what json can still read is also handled; beyond that it is a parse error."""
    deep = _nested(depth).replace(b'"m"', f'"{method}"'.encode())
    arguments = b'"params":{"command":"llmd.accepted","arguments":['
    client.body(deep.replace(b'"params":', arguments, 1)[:-1] + b"]}}")
    counts = client.settle()
    assert counts in ({1: 1, "q": 1}, {1: 1, None: 1})
    assert None not in counts or client.error_code() == -32700


def test_nothing_but_our_own_comes_before_initialize(daemon: RunningDaemon) -> None:
    """Row 53."""
    with RawLsp(daemon) as client:
        assert client.error_code(client.ask(INLINE_METHOD, **inline_params(new_uri()))) == -32002
        client.open()
        assert client.call("llmd/status")["state"] == "ready"
        assert client.initialize().inline(client.open())


@pytest.mark.parametrize(
    "method", ["textDocument/didOpen", "textDocument/didClose", "initialized", "$/cancelRequest"]
)
def test_a_notification_with_an_id_gets_its_reply(client: RawLsp, method: str) -> None:
    """Promise 2: with an id it is a request."""
    item = {"uri": new_uri(), "languageId": "python", "version": 1, "text": CODE}
    client.message(id="q", method=method, params={"textDocument": item, "id": 99_999})
    assert client.settle() == {1: 1, "q": 1}


def test_an_inner_error_tells_no_traceback(client: RawLsp) -> None:
    """It would name our files, and may hold what the user wrote."""
    client.ask("llmd/complete", uri=new_uri(), text=CODE, line=-9, col=0)
    client.settle()
    assert "traceback" not in json.dumps(client.reply(2)).lower()


def test_a_question_after_shutdown_gets_its_reply(client: RawLsp) -> None:
    """Promise 2: also one of our own, which needs no `initialize`."""
    assert client.call("shutdown") is None
    client.ask("no/such")
    assert client.settle() == {1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize("is_asked", [True, False], ids=["shutdown first", "without shutdown"])
def test_exit_closes_the_connection_alone(client: RawLsp, is_asked: bool) -> None:
    """Row 53."""
    if is_asked:
        assert client.call("shutdown") is None
        assert client.error_code(client.ask(INLINE_METHOD, **inline_params(new_uri()))) == -32600
    client.note("exit")
    assert client.is_closed()


# -- row 54: ids and cancels


@pytest.mark.parametrize("id_", [99_999, "none", -1, 1 << 62, None, 1.5, [1], {}, True])
def test_cancel_of_an_unknown_id_is_ignored(client: RawLsp, id_: Any) -> None:
    client.note("$/cancelRequest", id=id_)
    assert client.settle() == {1: 1}


def test_cancel_after_the_reply_is_ignored(client: RawLsp) -> None:
    """Row 54."""
    id_ = client.ask_inline(client.open())
    client.reply(id_)
    client.note("$/cancelRequest", id=id_)
    assert client.settle() == {1: 1, id_: 1}


def test_two_requests_of_one_id_get_no_third_reply(client: RawLsp) -> None:
    """Row 54."""
    for uri in (client.open(), client.open()):
        client.message(id="twin", method=INLINE_METHOD, params=inline_params(uri))
    client.reply("twin")
    last = client.ask_inline(client.open())  # behind both in the engine's queue
    client.reply(last)
    assert 1 <= client.settle()["twin"] <= 2
