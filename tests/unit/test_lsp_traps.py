"""Checks one LSP connection: pygls's traps (what suits a server of one client, and not a daemon),
malformed messages, order and replies, and the form of results. The service has no model."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support.handle import FakeHandle

from llmd import __version__
from llmd.context.request import Selected
from llmd.document import Document, Position
from llmd.transport import connection, lsp
from llmd.transport.framing import FrameSplitter, frame
from llmd.transport.lsp import session as session_module
from llmd.transport.lsp.session import LspSession
from llmd.transport.service import Client, ReconnectPolicy

URI = "file:///w/a.py"
PRIVATE = "unlikely_words_of_the_user"


@dataclass(eq=False)
class Call:
    text: str
    cursor: Position
    invoked: bool
    selected: Selected | None
    on_partial: Callable[[str], None] | None
    handle: FakeHandle


@dataclass
class Recorder:
    """Acts as the daemon. Answers with `text` at once, or when the test answers."""

    text: str | None = "TEXT"  # None: the test answers
    calls: list[Call] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    documents: list[weakref.ref[Any]] = field(default_factory=list)
    newest: dict[str, Call] = field(default_factory=dict)
    stopped: str = ""
    restarted: bool = False
    n_opened: int = 0
    closed: list[str] = field(default_factory=list)
    idle_cursors: list[tuple[str, Position]] = field(default_factory=list)

    def client_connected(self, client: Client) -> None:
        self.clients.append(client)

    def client_gone(self, client: Client) -> None:
        self.clients.remove(client)

    def status(self) -> dict[str, Any]:
        return {"state": "ready"}

    def document_opened(self) -> None:
        self.n_opened += 1

    def document_closed(self, document: Document) -> None:
        self.closed.append(document.uri)

    def cursor_idle(self, document: Document, cursor: Position) -> None:
        self.idle_cursors.append((document.uri, cursor))

    def why(self, uri: str) -> dict[str, Any] | None:
        return {"file": uri}

    def settings(self) -> dict[str, Any]:
        return {"rows": []}

    def restart(self) -> None:
        self.restarted = True

    def stop(self, then: ReconnectPolicy) -> None:
        self.stopped = then

    def complete(
        self,
        document: Document,
        cursor: Position,
        *,
        invoked: bool,
        selected: Selected | None = None,
        on_partial: Callable[[str], None] | None = None,
    ) -> FakeHandle:
        if older := self.newest.get(document.uri):
            older.handle.answer("old", "superseded")
        call = Call(str(document.text), cursor, invoked, selected, on_partial, FakeHandle())
        if self.text is not None:
            call.handle.answer(self.text)
        self.newest[document.uri] = call
        self.calls.append(call)
        return call.handle


class Editor:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.inbox: list[dict[str, Any]] = []
        self.splitter = FrameSplitter()
        self.last_id = 0

    def send(self, *messages: dict[str, Any]) -> None:
        """Sends all messages in one write, so that the server gets them in one read."""
        bodies = (json.dumps({"jsonrpc": "2.0", **message}).encode() for message in messages)
        self.writer.write(b"".join(map(frame, bodies)))

    async def take(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            for message in self.inbox:
                if matches(message):
                    self.inbox.remove(message)
                    return message
            chunk = await asyncio.wait_for(self.reader.read(1 << 16), 10)
            if not chunk:
                raise EOFError
            self.inbox += map(json.loads, self.splitter.feed(chunk))

    async def reply(self, id_: int | str | None) -> dict[str, Any]:
        return await self.take(lambda m: "method" not in m and m["id"] == id_)

    async def ask(self, method: str, params: Any = None) -> Any:
        message = request(self.next_id(), method, params)
        self.send(message)
        answer = await self.reply(message["id"])
        assert "error" not in answer, answer
        return answer["result"]

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    async def drain(self) -> list[dict[str, Any]]:
        """Returns the messages not taken yet, once the server has handled all messages so far."""
        await self.ask("llmd/status")
        return self.inbox

    async def initialize(self, *encodings: str, inline: bool = True, partial: bool = False) -> Any:
        document: dict[str, Any] = {"inlineCompletion": {}} if inline else {}
        capabilities: dict[str, Any] = {"textDocument": document}
        if encodings:
            capabilities["general"] = {"positionEncodings": list(encodings)}
        params = {
            "processId": None,
            "rootUri": None,
            "capabilities": capabilities,
            "clientInfo": {"name": "Editor", "version": "9"},
            "initializationOptions": {"llmd": {"partial": partial}},
        }
        result = await self.ask("initialize", params)
        self.send(note("initialized", {}))
        return result["capabilities"]


def note(method: str, params: Any) -> dict[str, Any]:
    return {"method": method, "params": params}


def request(id_: int | str, method: str, params: Any) -> dict[str, Any]:
    return {"id": id_, "method": method, "params": params}


def opened(text: str, version: int = 1, uri: str = URI) -> dict[str, Any]:
    item = {"uri": uri, "languageId": "python", "version": version, "text": text}
    return note("textDocument/didOpen", {"textDocument": item})


def changed(version: int, *changes: dict[str, Any], uri: str = URI) -> dict[str, Any]:
    params = {"textDocument": {"uri": uri, "version": version}, "contentChanges": list(changes)}
    return note("textDocument/didChange", params)


def place(line: int, character: int) -> dict[str, int]:
    return {"line": line, "character": character}


def span(line: int, start: int, end: int) -> dict[str, Any]:
    return {"start": place(line, start), "end": place(line, end)}


def edit(line: int, start: int, end: int, text: str) -> dict[str, Any]:
    return {"range": span(line, start, end), "text": text}


def inline(line: int, col: int, *, kind: int = 2, uri: str = URI, **context: Any) -> dict[str, Any]:
    return {
        "textDocument": {"uri": uri},
        "position": place(line, col),
        "context": {"triggerKind": kind, **context},
    }


INLINE = "textDocument/inlineCompletion"


class Wire:
    def __init__(self) -> None:
        self.service = Recorder()
        self.served: list[asyncio.Task[None]] = []
        self.editors: list[Editor] = []

    async def connect(self) -> Editor:
        ours, theirs = socket.socketpair()
        streams = await asyncio.open_connection(sock=theirs)
        self.served.append(asyncio.create_task(lsp.serve_connection(*streams, self.service)))
        self.editors.append(Editor(*await asyncio.open_connection(sock=ours)))
        return self.editors[-1]

    async def close(self) -> None:
        while self.editors:
            editor = self.editors.pop()
            editor.writer.close()
            with contextlib.suppress(ConnectionError):
                await editor.writer.wait_closed()
        await asyncio.wait_for(asyncio.gather(*self.served), 10)
        self.served.clear()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    yield wire
    await wire.close()


@pytest.fixture
async def editor(wire: Wire) -> Editor:
    editor = await wire.connect()
    await editor.initialize()
    return editor


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[LspSession]]:
    made: list[weakref.ref[LspSession]] = []

    class Noted(LspSession):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(weakref.ref(self))

    monkeypatch.setattr(session_module, "LspSession", Noted)
    return made


def only(sessions: list[weakref.ref[LspSession]]) -> LspSession:
    (ref,) = sessions
    return alive(ref)


def alive(ref: weakref.ref[LspSession]) -> LspSession:
    session = ref()
    assert session is not None
    return session


# -- pygls's traps


async def test_exit_ends_one_connection(wire: Wire, editor: Editor) -> None:
    other = await wire.connect()
    await other.initialize()
    await editor.ask("shutdown")
    editor.send(request(99, INLINE, inline(0, 0)), note("exit", None))
    assert (await editor.reply(99))["error"]["code"] == -32600
    with pytest.raises(EOFError):
        await editor.reply("never")
    other.send(opened("x"))
    assert await other.ask(INLINE, inline(0, 1))


async def test_no_future_is_kept_of_500_changes(
    sessions: list[weakref.ref[LspSession]], wire: Wire
) -> None:
    editor = await wire.connect()
    await editor.initialize()
    editor.send(opened(""), *(changed(n, edit(0, 0, 0, "x")) for n in range(2, 502)))
    for _ in range(5):
        await editor.ask(INLINE, inline(0, 0))
    session = only(sessions)
    assert str(session.documents.open[URI].text) == "x" * 500
    assert not session.is_pending(editor.last_id)
    gc.collect()
    assert sum(isinstance(found, Future) for found in gc.get_objects()) < 10


async def test_closed_connections_are_collected(
    sessions: list[weakref.ref[LspSession]], wire: Wire
) -> None:
    for _ in range(20):
        editor = await wire.connect()
        await editor.initialize()
        editor.send(opened("x"))
        await editor.ask(INLINE, inline(0, 1))
    assert len(wire.service.clients) == 20
    servers = [weakref.ref(alive(ref).server.protocol) for ref in sessions]
    del editor
    await wire.close()
    await asyncio.sleep(0)
    gc.collect()
    assert len(servers) == 20
    assert [ref for ref in (*sessions, *servers) if ref() is not None] == []
    assert wire.service.clients == []


async def test_no_body_in_the_log(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.getLogger("pygls").level, "pygls")
    wire.service.text = PRIVATE
    editor = await wire.connect()
    await editor.initialize(partial=True)
    editor.send(opened(PRIVATE), changed(2, edit(0, 0, 0, PRIVATE)))
    await editor.ask(INLINE, inline(0, 1))
    bad_change = {"range": {"start": PRIVATE}, "text": [PRIVATE]}
    editor.send(
        changed(3, bad_change),
        note("textDocument/didOpen", {"textDocument": PRIVATE}),
        request(50, INLINE, {"position": PRIVATE}),
        request(51, PRIVATE, [PRIVATE]),
        request(52, "llmd/complete", {"text": PRIVATE}),
        request(53, "workspace/executeCommand", {"command": PRIVATE}),
        {"jsonrpc": "1.0", "method": PRIVATE},
        {"id": PRIVATE, "result": PRIVATE},
        {"id": PRIVATE, "error": {"code": 1, "message": PRIVATE}},
    )
    editor.writer.write(frame(PRIVATE.encode()))
    await editor.drain()
    assert PRIVATE not in caplog.text


async def test_form_feed_and_line_separator_end_no_line(wire: Wire, editor: Editor) -> None:
    editor.send(opened("a\fb\u2028c\nd"), changed(2, edit(1, 1, 1, "X"), edit(0, 5, 9, "Y")))
    await editor.ask(INLINE, inline(1, 2))
    assert wire.service.calls[0].text == "a\fb\u2028cY\ndX"


async def test_an_unopened_file_is_not_read(wire: Wire, editor: Editor, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("on disk")
    uri = (tmp_path / "a.py").as_uri()
    editor.send(changed(2, edit(0, 0, 0, "x"), uri=uri))
    assert await editor.ask(INLINE, inline(0, 0, uri=uri)) is None
    assert wire.service.calls == []


async def test_the_servers_own_ids_are_numbers(
    sessions: list[weakref.ref[LspSession]], wire: Wire
) -> None:
    editor = await wire.connect()
    await editor.initialize()
    waiting = only(sessions).send_request("llmd/question", {"items": []})
    asked = await editor.take(lambda m: m.get("method") == "llmd/question")
    assert isinstance(asked["id"], int)
    editor.send({"id": asked["id"], "result": []})
    await editor.drain()
    assert waiting.done()


async def test_no_popup_for_an_odd_message(editor: Editor) -> None:
    editor.send(
        note("textDocument/didOpen", {"textDocument": 3}),
        note("no/such", {}),
        request(70, "no/such", {}),
    )
    assert (await editor.reply(70))["error"]["code"] == -32601
    assert await editor.drain() == []


async def test_a_peer_that_does_not_read_is_dropped(
    wire: Wire, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.service.text = "x" * 100_000
    monkeypatch.setattr(connection, "MAX_UNSENT_BYTES", 1 << 20)
    editor.send(opened("x"), *(request(n, INLINE, inline(0, 1)) for n in range(10, 80)))
    await asyncio.wait_for(wire.served[0], 10)


# -- order, replies, malformed messages


async def test_a_request_sees_the_text_before_the_change_after_it(
    wire: Wire, editor: Editor
) -> None:
    editor.send(opened("a"), request(10, INLINE, inline(0, 1)), changed(2, edit(0, 1, 1, "b")))
    assert (await editor.reply(10))["result"] is None  # its version is gone
    assert wire.service.calls[0].text == "a"


@pytest.mark.parametrize(
    "event",
    [
        opened("a"),
        changed(2, {"text": "new"}),
        note("textDocument/didClose", {"textDocument": {"uri": URI}}),
    ],
)
async def test_text_for_another_document_is_not_shown(
    wire: Wire, editor: Editor, event: dict[str, Any]
) -> None:
    wire.service.text = None
    editor.send(opened("a"), request(10, INLINE, inline(0, 1)), event)
    await editor.drain()
    wire.service.calls[0].handle.answer("late")
    assert (await editor.reply(10))["result"] is None


async def test_the_newer_of_two_requests_wins(wire: Wire, editor: Editor) -> None:
    wire.service.text = None
    editor.send(opened("a"), request(10, INLINE, inline(0, 1)), request(11, INLINE, inline(0, 1)))
    assert (await editor.reply(10))["result"] is None
    wire.service.calls[1].handle.answer("new")
    assert (await editor.reply(11))["result"]["items"][0]["insertText"] == "new"
    assert await editor.drain() == []


@pytest.mark.parametrize("at_once", [True, False])
async def test_cancel_gives_one_reply(wire: Wire, editor: Editor, at_once: bool) -> None:
    wire.service.text = None
    ask, cancel = request(10, INLINE, inline(0, 1)), note("$/cancelRequest", {"id": 10})
    if at_once:
        editor.send(opened("a"), ask, cancel, cancel)
    else:
        editor.send(opened("a"), ask)
        await editor.drain()
        editor.send(cancel, cancel)
    assert (await editor.reply(10))["error"]["code"] == -32800
    assert await editor.drain() == []
    assert wire.service.calls[0].handle.is_cancelled


async def test_cancel_after_the_reply_changes_nothing(editor: Editor) -> None:
    editor.send(opened("a"), request(10, INLINE, inline(0, 1)))
    assert (await editor.reply(10))["result"]
    editor.send(note("$/cancelRequest", {"id": 10}), note("$/cancelRequest", {"id": "none"}))
    assert await editor.drain() == []


async def test_a_closed_connection_cancels(wire: Wire, editor: Editor) -> None:
    wire.service.text = None
    editor.send(opened("a"), request(10, INLINE, inline(0, 1)))
    await wire.close()
    assert wire.service.calls[0].handle.is_cancelled
    assert wire.service.clients == []


async def test_malformed_messages_are_answered_and_survived(editor: Editor) -> None:
    for body, code in [
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b"3", -32600),
        (b'{"jsonrpc":"2.0"}', -32600),
        (b'{"jsonrpc":"2.0","id":[1],"method":"shutdown"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":{}}', -32600),
        (b'{"method":"shutdown","id":1}', -32600),
    ]:
        editor.writer.write(frame(body))
        assert (await editor.reply(None))["error"]["code"] == code
    editor.send(request(80, INLINE, {"position": 3}), request(81, INLINE, None))
    assert (await editor.reply(80))["error"]["code"] == -32602
    assert (await editor.reply(81))["error"]["code"] == -32602
    assert await editor.drain() == []


async def test_a_framing_fault_closes_one_connection(wire: Wire, editor: Editor) -> None:
    other = await wire.connect()
    editor.writer.write(b"Content-Length: many\r\n\r\n")
    with pytest.raises(EOFError):
        await editor.reply("never")
    assert await other.ask("llmd/status") == {"state": "ready"}


async def test_initialize_comes_first_and_once(wire: Wire) -> None:
    editor = await wire.connect()
    editor.send(request(90, INLINE, inline(0, 0)))
    assert (await editor.reply(90))["error"]["code"] == -32002
    await editor.initialize()
    editor.send(request(91, "initialize", {"capabilities": {}, "processId": None}))
    assert (await editor.reply(91))["error"]["code"] == -32600
    assert [client.editor for client in wire.service.clients] == ["Editor 9"]


async def test_an_id_in_flight_is_not_taken_twice(wire: Wire, editor: Editor) -> None:
    wire.service.text = None
    ask = request(10, INLINE, inline(0, 1))
    editor.send(opened("a"), ask, ask)
    assert (await editor.reply(10))["error"]["code"] == -32600
    wire.service.calls[0].handle.answer("text")
    assert (await editor.reply(10))["result"]
    assert await editor.drain() == []


@pytest.mark.parametrize(
    ("method", "params", "broken"),
    [
        (INLINE, inline(0, 1), "complete"),
        ("llmd/status", None, "status"),
        ("initialize", {"capabilities": {}, "processId": None}, "client_connected"),
        (
            "workspace/executeCommand",
            {"command": "llmd.accepted", "arguments": [URI, 1]},
            "record_outcome",
        ),
    ],
)
async def test_an_internal_error_never_carries_the_users_code(
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    params: Any,
    broken: str,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError(PRIVATE)

    editor = await wire.connect()
    if method != "initialize":
        await editor.initialize()
        editor.send(opened("a"))
    monkeypatch.setattr(wire.service, broken, fail, raising=False)
    editor.send(request(10, method, params))
    error = (await editor.reply(10))["error"]
    assert error == {"code": -32603, "message": "Internal error; `llmd logs` has more"}
    assert PRIVATE not in caplog.text
    assert "ValueError" in caplog.text


async def test_a_root_that_is_no_uri_is_no_error(editor: Editor, wire: Wire) -> None:
    other = await wire.connect()
    params = {"processId": None, "rootUri": "file://[", "rootPath": "", "capabilities": {}}
    assert (await other.ask("initialize", params))["serverInfo"]["name"] == "llmd"


async def test_a_failed_engine_is_an_empty_answer(wire: Wire, editor: Editor) -> None:
    wire.service.text = None
    editor.send(opened("a"), request(10, INLINE, inline(0, 1)))
    await editor.drain()
    wire.service.calls[0].handle.answer("", "failed")
    assert (await editor.reply(10))["result"] is None


async def test_half_a_surrogate_pair_is_replaced(wire: Wire, editor: Editor) -> None:
    editor.send(opened("a\ud83d"), changed(2, edit(0, 0, 0, "\udc00é")))
    await editor.ask(INLINE, inline(0, 0))
    assert wire.service.calls[0].text == "\ufffdéa\ufffd"


# -- results


@pytest.mark.parametrize(("encoding", "after"), [("utf-8", 6), ("utf-16", 4), ("utf-32", 3)])
async def test_positions_in_the_negotiated_units(wire: Wire, encoding: str, after: int) -> None:
    editor = await wire.connect()
    assert (await editor.initialize(encoding))["positionEncoding"] == encoding
    editor.send(opened("a😀b\n"), changed(2, edit(0, after - 1, after, "BC")))
    result = await editor.ask(INLINE, inline(0, after + 1))
    assert wire.service.calls[0].text == "a😀BC\n"
    assert wire.service.calls[0].cursor == Position(0, 4)
    assert result["items"][0]["range"] == span(0, after + 1, after + 1)
    past_the_end = await editor.ask(INLINE, inline(0, 99))
    assert past_the_end["items"][0]["range"] == span(0, after + 1, after + 1)


async def test_utf16_unless_another_is_offered(wire: Wire) -> None:
    assert (await (await wire.connect()).initialize())["positionEncoding"] == "utf-16"
    capabilities = await (await wire.connect()).initialize("utf-7", "utf-32", "utf-8")
    assert capabilities["positionEncoding"] == "utf-32"


async def test_invoked_is_passed_on_and_empty_text_is_null(wire: Wire, editor: Editor) -> None:
    wire.service.text = ""
    editor.send(opened("a"))
    assert await editor.ask(INLINE, inline(0, 1, kind=1)) is None
    assert await editor.ask(INLINE, inline(0, 1, kind=2)) is None
    assert [call.invoked for call in wire.service.calls] == [True, False]


async def test_the_text_begins_with_the_selected_item(wire: Wire, editor: Editor) -> None:
    wire.service.text = "(1)"
    editor.send(opened("😀 pri"))
    info = {"range": span(0, 3, 6), "text": "print"}
    result = await editor.ask(INLINE, inline(0, 6, selectedCompletionInfo=info))
    assert result["items"] == [{"insertText": "print(1)", "range": span(0, 3, 6)}]
    assert wire.service.calls[0].selected == Selected(Position(0, 2), Position(0, 5), "print")


async def test_completion_is_for_clients_without_inline(wire: Wire, editor: Editor) -> None:
    editor.send(request(60, "textDocument/completion", {}))
    assert (await editor.reply(60))["error"]["code"] in (-32601, -32602)
    popup = await wire.connect()
    capabilities = await popup.initialize(inline=False)
    assert "completionProvider" in capabilities
    assert "inlineCompletionProvider" in capabilities
    assert capabilities["textDocumentSync"]["change"] == 2
    wire.service.text = "nt(x)\nmore"
    popup.send(opened("😀 a.pri)"))
    params = {"textDocument": {"uri": URI}, "position": place(0, 8), "context": {"triggerKind": 1}}
    result = await popup.ask("textDocument/completion", params)
    assert result["isIncomplete"] is True
    assert result["items"] == [
        {
            "label": "print(x)",
            "kind": 1,
            "sortText": "0",
            "filterText": "print(x)",
            "textEdit": {"range": span(0, 5, 8), "newText": "print(x)\nmore"},
        }
    ]
    assert not wire.service.calls[-1].invoked


async def test_partial_text_is_sent_only_on_request(wire: Wire, editor: Editor) -> None:
    wire.service.text = None
    editor.send(opened("a"), request(10, INLINE, inline(0, 1)))
    await editor.drain()
    assert wire.service.calls[0].on_partial is None
    partial = await wire.connect()
    await partial.initialize(partial=True)
    info = {"range": span(0, 0, 1), "text": "ab"}
    uri = "file:///w/b.py"
    partial.send(
        opened("a", uri=uri),
        request("x", INLINE, inline(0, 1, uri=uri, selectedCompletionInfo=info)),
    )
    await partial.drain()
    send = wire.service.calls[1].on_partial
    assert send is not None
    send("c")
    got = await partial.take(lambda m: m.get("method") == "llmd/partial")
    assert got["params"] == {"id": "x", "text": "abc"}
    partial.send(changed(2, edit(0, 0, 0, "z"), uri=uri))
    await partial.drain()
    send("cd")  # its version is gone
    assert await partial.drain() == []


async def test_commands_take_anything(editor: Editor) -> None:
    for name in ("llmd.accepted", "llmd.rejected"):
        assert await editor.ask("workspace/executeCommand", {"command": name}) is None
        for arguments in ([], [1, {"a": [2]}, None]):
            params = {"command": name, "arguments": arguments}
            assert await editor.ask("workspace/executeCommand", params) is None


async def test_methods_of_llmd_need_no_initialize(wire: Wire) -> None:
    editor = await wire.connect()
    assert await editor.ask("llmd/status") == {"state": "ready"}
    params = {"uri": URI, "languageId": "python", "text": "é😀x\n", "line": 0, "col": 2}
    answer = await editor.ask("llmd/complete", params)
    assert (answer["text"], answer["trace"]["path"]) == ("TEXT", "warm")
    assert wire.service.calls[0].cursor == Position(0, 2)
    assert wire.service.calls[0].invoked
    assert await editor.ask("llmd/stop") is None
    await editor.drain()
    assert wire.service.stopped == "stay"
    assert wire.service.clients == []


async def test_hello_of_another_version_is_refused(wire: Wire) -> None:
    editor = await wire.connect()
    editor.send(note("llmd/hello", {"protocol": 1, "version": __version__}))
    await editor.initialize()
    other = await wire.connect()
    other.send(note("llmd/hello", {"protocol": 1, "version": "0.0.9"}))
    bye = await other.take(lambda m: m.get("method") == "llmd/bye")
    assert "llmd restart --daemon" in bye["params"]["reason"]
    with pytest.raises(EOFError):
        await other.reply("never")


async def test_an_idle_cursor_is_passed_on_in_characters(wire: Wire) -> None:
    editor = await wire.connect()
    await editor.initialize()
    editor.send(opened("😀 a\n"))
    place: Any = {"line": 0, "character": 3}
    for params in (
        {"uri": URI, "position": place},
        {"uri": "file:///other", "position": place},
        {"uri": URI, "position": {"line": -1, "character": 0}},
        {"uri": URI},
        None,
    ):
        editor.send({"method": "llmd/cursor", "params": params})
    await editor.drain()
    assert wire.service.idle_cursors == [(URI, Position(0, 2))]


async def test_a_document_is_closed_exactly_once(wire: Wire) -> None:
    editor = await wire.connect()
    await editor.initialize()
    editor.send(opened("a"), opened("b"), {"method": "textDocument/didClose",
                "params": {"textDocument": {"uri": URI}}}, opened("c"))  # fmt: skip
    await editor.drain()
    assert wire.service.closed == [URI, URI]
    editor.writer.close()
    while len(wire.service.closed) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert wire.service.closed == [URI, URI, URI]


async def test_an_edit_touches_its_own_lines_only(
    sessions: list[weakref.ref[LspSession]], wire: Wire
) -> None:
    editor = await wire.connect()
    await editor.initialize()
    editor.send(opened("".join(f"line {n}\n" for n in range(100_000))))
    await editor.drain()
    document = only(sessions).documents.open[URI]
    lines, before = document.text.lines, list(document.text.lines)
    editor.send(changed(2, edit(50_000, 0, 4, "LINE")), changed(3, edit(9, 0, 0, "new\n")))
    await editor.drain()
    after = only(sessions).documents.open[URI].text.lines
    assert after is lines
    kept = {id(line) for line in before}
    assert [line for line in after if id(line) not in kept] == ["new\n", "line 9\n", "LINE 50000\n"]
