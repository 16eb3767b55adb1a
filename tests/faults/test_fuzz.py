"""What nobody thought of: LLMD_N_FAULTS of each kind, by seed (reliability rows 52 to 54)."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from llmd.transport.framing import frame
from tests.support.daemon import RunningDaemon
from tests.support.rawlsp import CODE, HEAD, INLINE_METHOD, RawLsp, assert_serves, new_uri

pytestmark = pytest.mark.usefixtures("survives")

N_FAULTS = int(os.environ.get("LLMD_N_FAULTS", "500"))
N_PER_CONNECTION = 10
N_PER_GROUP = 50

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
    if made.random() < 0.05:
        message = {"jsonrpc": "2.0", "id": "none", made.choice(["result", "error"]): params}
    elif made.random() < 0.6:
        message["id"] = client.next_id()
        client.expected.append(message["id"])
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
