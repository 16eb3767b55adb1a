"""Peers that break the protocol: each harms its own connection at most (reliability rows 42, 50 to
55). After each, the daemon answers a status and a completion, from the same worker."""

from __future__ import annotations

import json
import os
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from llmd.transport.framing import frame
from tests.support.daemon import RunningDaemon, wait_until
from tests.support.rawlsp import (
    CODE,
    RawLsp,
    assert_serves,
    cpu_share,
    inline_params,
    new_uri,
    rss_bytes,
)

N_FAULTS = int(os.environ.get("LLMD_N_FAULTS", "500"))
N_PER_CONNECTION = 10
N_PER_GROUP = 50
MB = 1 << 20
INLINE_METHOD = "textDocument/inlineCompletion"
HEAD = b"Content-Length: "


@pytest.fixture(autouse=True)
def _survives(request: pytest.FixtureRequest) -> Iterator[None]:
    name = "own_daemon" if "own_daemon" in request.fixturenames else "daemon"
    running: RunningDaemon = request.getfixturevalue(name)
    before = running.status()
    yield
    assert_serves(running, before["worker_pid"])
    wait_until(
        lambda: running.status()["process"]["n_documents"] == before["process"]["n_documents"],
        "the documents of its connections are gone",
    )


@pytest.fixture
def client(daemon: RunningDaemon) -> Iterator[RawLsp]:
    with RawLsp(daemon) as raw:
        yield raw.initialize()


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


def _request(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": "q", **message}).encode()


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
        pytest.param(b"[" + _request(method="llmd/status") + b"]", None, -32600, id="batch"),
        pytest.param(b"null", None, -32600, id="null"),
        pytest.param(_request(method=7), None, -32600, id="method is a number"),
        pytest.param(_request(), "q", None, id="a reply to nothing"),
        pytest.param(_request(jsonrpc="1.0", method="m"), None, -32600, id="JSON-RPC 1.0"),
        pytest.param(_request(id=None, method="llmd/status"), None, -32600, id="id is null"),
        pytest.param(_request(id=1.5, method="llmd/status"), None, -32600, id="id is a float"),
        pytest.param(_request(id=True, method="llmd/status"), None, -32600, id="id is a bool"),
        pytest.param(_request(id={}, method="llmd/status"), None, -32600, id="id is an object"),
        pytest.param(_request(method="no/such"), "q", -32601, id="unknown method"),
        pytest.param(_request(method="__init__"), "q", -32601, id="method of Python"),
        pytest.param(_request(method=INLINE_METHOD), "q", -32602, id="no params"),
        pytest.param(_request(method=INLINE_METHOD, params=[1]), "q", -32602, id="params: array"),
        pytest.param(_request(method=INLINE_METHOD, params={}), "q", -32602, id="params: empty"),
        pytest.param(_request(method="llmd/complete", params=3), "q", -32602, id="our own params"),
        pytest.param(_request(method="initialize", params={}), "q", -32600, id="initialize again"),
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


# -- row 54, 55: ids and cancels


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


@pytest.mark.parametrize("n_documents", [1, 7])
def test_a_storm_of_cancels_gives_each_request_one_reply(client: RawLsp, n_documents: int) -> None:
    """Row 55."""
    uris = [client.open() for _ in range(n_documents)]
    ids = []
    for n in range(300):
        ids.append(client.ask_inline(uris[n % n_documents], col=n % 12))
        client.note("$/cancelRequest", id=ids[-1])
    for id_ in ids:
        client.reply(id_)
    assert client.inline(uris[0])
    counts = client.settle()
    assert [counts[id_] for id_ in ids] == [1] * 300
    errors = [client.replies[id_][0].get("error", {}).get("code", -32800) for id_ in ids]
    assert set(errors) == {-32800}


# -- rows 50, 51, 42: peers that do not read, half leave, or come by the hundred


@pytest.mark.parametrize("method", ["llmd/status", INLINE_METHOD])
def test_a_half_closed_peer_is_let_go(client: RawLsp, method: str) -> None:
    """Row 51: answered or not, never twice."""
    uri = client.open()
    id_ = client.ask(method, **inline_params(uri))
    client.end_writing()
    assert client.is_closed()
    assert len(client.replies[id_]) <= 1


@pytest.mark.parametrize("n_bytes", [0, 1, 20, 60])
def test_a_peer_that_stops_in_a_frame_harms_nobody(daemon: RunningDaemon, n_bytes: int) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            half = stack.enter_context(RawLsp(daemon))
            half.write(frame(_request(method="llmd/status"))[:n_bytes])
        assert_serves(daemon)


def test_a_peer_that_never_reads_is_dropped(daemon: RunningDaemon, client: RawLsp) -> None:
    """Row 50: what it is owed is bounded, and so is the daemon."""
    before_bytes = rss_bytes(daemon)
    status = frame(_request(method="llmd/status"))
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        client.write(status * 20_000)
    assert rss_bytes(daemon) - before_bytes < 48 * MB


def test_completions_that_nobody_reads_harm_nobody(daemon: RunningDaemon, client: RawLsp) -> None:
    """Row 50."""
    before_bytes = rss_bytes(daemon)
    uri = client.open()
    for n in range(2000):
        client.ask_inline(uri, col=n % 12)
    assert_serves(daemon)
    assert rss_bytes(daemon) - before_bytes < 16 * MB


def test_300_idle_peers_leave_room_for_one(daemon: RunningDaemon) -> None:
    before = daemon.status()["process"]
    with ExitStack() as stack:
        idle = [stack.enter_context(RawLsp(daemon)) for _ in range(300)]
        for client in idle[::2]:
            client.initialize().open()
        assert_serves(daemon)
        assert len(daemon.status()["clients"]) >= 150
    wait_until(
        lambda: daemon.status()["process"]["n_fds"] <= before["n_fds"], "descriptors are given back"
    )
    wait_until(
        lambda: daemon.status()["process"]["n_tasks"] <= before["n_tasks"], "tasks have ended"
    )


def test_no_descriptor_left_is_waited_out(own_daemon: RunningDaemon) -> None:
    """Row 42: who is there is served, who comes waits, and nothing spins."""
    assert own_daemon.process
    pid = own_daemon.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        there = stack.enter_context(RawLsp(own_daemon)).initialize()
        uri = there.open()
        limit = psutil.Process(pid).num_fds() + 3
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
        stack.callback(resource.prlimit, pid, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(30):
            stack.enter_context(RawLsp(own_daemon)).write(HEAD)
        assert there.inline(uri)
        assert cpu_share(own_daemon) < 0.2
        assert there.call("llmd/status")["state"] == "ready"
        assert there.inline(uri)


# -- what nobody thought of: N_FAULTS of each kind, by seed

METHODS = (
    INLINE_METHOD, "textDocument/completion", "textDocument/didOpen", "textDocument/didChange",
    "textDocument/didClose", "textDocument/didSave", "textDocument/hover", "initialize",
    "initialized", "$/cancelRequest", "$/setTrace", "$/progress", "$/other",
    "workspace/executeCommand", "workspace/didChangeConfiguration", "notebookDocument/didOpen",
    "notebookDocument/didChange", "workspace/didChangeWorkspaceFolders", "window/showMessage",
    "window/workDoneProgress/cancel", "llmd/status", "llmd/why", "llmd/config", "llmd/snapshot",
    "llmd/complete", "no/such", "",
)  # fmt: skip
KEYS = (
    "textDocument", "position", "uri", "version", "text", "line", "character", "context", "range",
    "start", "end", "contentChanges", "triggerKind", "selectedCompletionInfo", "languageId", "id",
    "command", "arguments", "capabilities", "processId", "col", "general", "x",
)  # fmt: skip
ATOMS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(10**30), 1.5, 1e308, "", "a", "file:///t/r.py",
    "\ud800", "\0", "é😀\r\n", "file://[", "untitled:1", "llmd.accepted", "<|fim_middle|>" * 50,
)  # fmt: skip


def _value(made: random.Random, depth: int = 4) -> Any:
    kind = made.random()
    if depth == 0 or kind < 0.3:
        return made.choice(ATOMS)
    if kind < 0.45:
        return [_value(made, depth - 1) for _ in range(made.randrange(4))]
    return {made.choice(KEYS): _value(made, depth - 1) for _ in range(made.randrange(6))}


def _mutated(made: random.Random, value: Any) -> Any:
    """Params of the right form, but for a part here and there."""
    if made.random() < 0.1:
        return _value(made, 2)
    if isinstance(value, dict):
        return {key: _mutated(made, one) for key, one in value.items() if made.random() > 0.05}
    return [_mutated(made, one) for one in value] if isinstance(value, list) else value


def _right_params(uri: str) -> dict[str, Any]:
    """All that any method wants, at once."""
    place = {"line": 0, "character": 1}
    item = {"uri": uri, "version": 2, "languageId": "python", "text": CODE}
    change = {"range": {"start": place, "end": place}, "text": "x"}
    info = {"range": {"start": place, "end": place}, "text": "print"}
    return {
        "textDocument": item,
        "position": place,
        "context": {"triggerKind": 1, "selectedCompletionInfo": info},
        "contentChanges": [change, {"text": CODE}],
        **{"uri": uri, "text": CODE, "line": 0, "col": 1, "languageId": "", "id": "none"},
        **{"command": "llmd.accepted", "arguments": [], "capabilities": {}, "processId": None},
    }


def _noise(made: random.Random) -> bytes:
    head = made.choice([b"", b"C", HEAD, HEAD + b"20\r\n\r\n", frame(b"{}"), frame(b"")])
    return head + made.randbytes(made.randrange(1, 2000))


def _rpc(made: random.Random, client: RawLsp) -> bytes:
    uri = made.choice(["file:///t/r.py", "file:///t/s.py", "untitled:1"])
    right = made.random() < 0.7
    params = _mutated(made, _right_params(uri)) if right else _value(made)
    message = {"jsonrpc": "2.0", "method": made.choice(METHODS), "params": params}
    if made.random() < 0.6:
        message["id"] = client.next_id()
        client.expected.append(message["id"])
    if made.random() < 0.05:
        message = {"jsonrpc": "2.0", "id": "none", made.choice(["result", "error"]): params}
    return frame(json.dumps(message).encode())


def _flipped(made: random.Random) -> bytes:
    uri = new_uri()
    params = _right_params(uri)
    methods = ("textDocument/didOpen", INLINE_METHOD, "textDocument/didChange", INLINE_METHOD)
    session = bytearray()
    for id_, method in enumerate(methods):
        message = {"jsonrpc": "2.0", "id": f"f{id_}", "method": method, "params": params}
        session += frame(json.dumps(message).encode())
    for _ in range(made.randint(1, 6)):
        session[made.randrange(len(session))] ^= 1 << made.randrange(8)
    return bytes(session)


@pytest.mark.parametrize("make", [_noise, _flipped], ids=["noise", "bit flips"])
@pytest.mark.timeout(0)
def test_no_bytes_harm_the_daemon(
    daemon: RunningDaemon, make: Callable[[random.Random], bytes]
) -> None:
    """Row 52. After `initialize` and before it."""
    pid = daemon.status()["worker_pid"]
    for seed in range(N_FAULTS):
        with RawLsp(daemon) as client:
            if seed % 2:
                client.initialize()
            client.write_or_lose(make(random.Random(seed)))
        if seed % N_PER_GROUP == 0:
            assert_serves(daemon, pid)


@pytest.mark.timeout(0)
def test_every_request_of_any_kind_gets_one_reply(daemon: RunningDaemon) -> None:
    """Rows 53 and 54. And none of them tells how it failed inside."""
    for first in range(0, N_FAULTS, N_PER_CONNECTION):
        seeds = range(first, min(first + N_PER_CONNECTION, N_FAULTS))
        with RawLsp(daemon) as client:
            client.initialize()
            made = [_rpc(random.Random(seed), client) for seed in seeds]
            client.write_or_lose(b"".join(made))
            for id_ in client.expected:
                client.reply(id_)
            counts = client.settle()
            assert {counts[id_] for id_ in client.expected} <= {1}, seeds
            inner = [reply for found in client.replies.values() for reply in found]
            assert "-32603" not in json.dumps(inner), seeds
        if first % N_PER_GROUP == 0:
            assert_serves(daemon)
