"""Text and positions of every kind, from an editor: each gets an answer (reliability rows 60 and
62 to 65)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import RunningDaemon, wait_until
from tests.support.editor import Editor, text_of
from tests.support.rawlsp import CODE, CODE_END, MB, RawLsp, assert_serves, new_uri, rss_bytes

SENTINELS = "<|fim_prefix|><|fim_suffix|><|fim_middle|><|endoftext|><fim_middle><PRE> <MID>"


def why(daemon: RunningDaemon, uri: str) -> dict[str, Any]:
    """What became of the document's last request, as soon as it is known."""
    found: dict[str, Any] = wait_until(lambda: daemon.ask("llmd/why", uri=uri), "it is recorded")
    return found


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-32"])
@pytest.mark.parametrize(
    ("place", "found"),
    [
        pytest.param((0, 0), (1, 1), id="start"),
        pytest.param((0, 99), (1, 3), id="past the line"),
        pytest.param((0, 2**31 - 1), (1, 3), id="far past the line"),
        pytest.param((1, 2), {"utf-16": (2, 2), "utf-8": (2, 2), "utf-32": (2, 3)}, id="in a pair"),
        pytest.param((1, 3), {"utf-16": (2, 3), "utf-8": (2, 2), "utf-32": (2, 4)}, id="after it"),
        pytest.param((2, 0), (3, 1), id="line without text"),
        pytest.param((3, 2), (4, 3), id="last line without an end"),
        pytest.param((4, 0), (4, 3), id="past the last line"),
        pytest.param((2**31 - 1, 7), (4, 3), id="far past the last line"),
    ],
)
def test_a_place_outside_becomes_the_nearest(
    daemon: RunningDaemon,
    place: tuple[int, int],
    found: tuple[int, int] | dict[str, tuple[int, int]],
    encoding: str,
) -> None:
    """Row 60."""
    uri = new_uri()
    with RawLsp(daemon).initialize(encoding) as one:
        one.open("ab\r\na😀b\r\n\ne\0", uri)  # the NUL keeps the model out of it
        one.inline(uri, *place)
        said = why(daemon, uri)
    assert (said["line"], said["col"]) == (found[encoding] if isinstance(found, dict) else found)


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (2**31, 0), ("x", 0), (None, 0)])
def test_a_place_that_is_none_is_refused(editor: Editor, place: tuple[Any, Any]) -> None:
    """Row 60."""
    uri = new_uri()
    editor.open(CODE, uri)
    assert editor.answer(editor.ask_inline(*place, uri))["error"]["code"] == -32602


@pytest.mark.parametrize(("line", "col"), [(-1, 0), (-3, 0), (0, -1), (10**30, 0), (0, 10**30),
                                           (-(10**30), 0)])  # fmt: skip
def test_a_place_outside_is_no_inner_error(daemon: RunningDaemon, line: int, col: int) -> None:
    """Row 60, for `llmd/complete`."""
    params = {"uri": new_uri(), "text": CODE, "line": line, "col": col}
    with RawLsp(daemon) as client:
        reply = client.reply(client.ask("llmd/complete", **params))
    assert "result" in reply or reply["error"]["code"] == -32602
    assert_serves(daemon)


BINARY = Path("/bin/sh").read_bytes()[:20_000].decode("latin-1")


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        pytest.param("", "", id="row 60: empty"),
        pytest.param("\ufeffx = 1\ny = ", "", id="row 60: BOM"),
        pytest.param("x = 1\r\ny = ", "", id="row 60: CRLF"),
        pytest.param("x = 1\ry = ", "", id="row 60: CR"),
        pytest.param("a\n\r\r\n\n\r", "", id="row 60: ends of every kind"),
        pytest.param("x = '\ud800'\n", "", id="row 60: lone surrogate"),
        pytest.param("x = '\udc00\ud800'\ny = ", "", id="row 60: surrogates the wrong way"),
        pytest.param("x = '👩‍👩‍👧 \U0010ffff \u202e'\ny = ", "", id="row 60: joined, last, bidi"),
        pytest.param("a\0b\n", "binary", id="row 64: NUL"),
        pytest.param(BINARY, "binary", id="row 64: a program"),
        pytest.param("x" * MB, "long_line", id="row 63: line of 1 MB"),
        pytest.param("x\n" + "é" * MB, "long_line", id="row 63: line of 2 MB"),
        pytest.param("\n" * MB, "", id="row 63: a million lines"),
        pytest.param(("x = 1  # " + SENTINELS + "\n") * 2 + "y = ", "", id="row 65: sentinels"),
    ],
)
def test_text_of_every_kind_has_an_answer(
    editor: Editor, daemon: RunningDaemon, text: str, gate: str
) -> None:
    uri = new_uri()
    editor.open(text, uri)
    answer = editor.answer(editor.ask_inline(10**9, 0, uri))
    assert "error" not in answer
    found = why(daemon, uri)
    assert found["gate"] == gate
    assert found["trace"]["path"] in (("suppressed",) if gate else ("cold", "warm", "late"))
    assert not gate or not text_of(answer)
    for where in ((0, 0), (0, 3), (1, 0)):
        assert "error" not in editor.answer(editor.ask_inline(*where, uri, invoked=False))
    editor.send("textDocument/didClose", textDocument={"uri": uri})


def test_a_spelled_sentinel_is_many_tokens(daemon: RunningDaemon) -> None:
    """Row 65: one token each would be the sentinel itself."""
    plain = daemon.complete("x = 1\ny = $0")["trace"]["n_prompt"]
    for name in ("<|fim_middle|>", "<|endoftext|>", "<|im_start|>"):
        spelled = daemon.complete(f"# {name * 9}\nx = 1\ny = $0")["trace"]["n_prompt"]
        assert spelled - plain >= 4 * 9


def _huge(editor: Editor, uri: str) -> None:
    line = "x = 1  # " + "y" * 90 + "\n"
    editor.open(line * (50 * MB // len(line)), uri)


def test_a_file_of_50_mb_is_off_and_given_back(editor: Editor, daemon: RunningDaemon) -> None:
    """Row 63: three times, so that what stays is not what each leaves."""
    after_bytes = []
    for _ in range(3):
        uri = new_uri()
        _huge(editor, uri)
        assert editor.inline(9, 3, uri) == ""
        assert why(daemon, uri)["gate"] == "size"
        editor.insert(0, 0, "z", uri)
        assert editor.inline(0, 1, uri) == ""
        editor.send("textDocument/didClose", textDocument={"uri": uri})
        assert editor.answer(editor.ask_inline(0, 0, uri))["result"] is None
        after_bytes.append(rss_bytes(daemon))
    assert after_bytes[2] - after_bytes[0] < 32 * MB


def test_a_body_over_the_limit_ends_its_own_connection(daemon: RunningDaemon) -> None:
    """Row 63."""
    lost = Editor(daemon)
    with suppress(OSError):
        lost.open("x" * (65 * MB), new_uri())
    assert lost.process.wait(30) == 1
    assert_serves(daemon)


def test_a_paste_of_5_mb_is_off_until_undone(editor: Editor, daemon: RunningDaemon) -> None:
    """Row 62."""
    uri = new_uri()
    editor.open(CODE, uri)
    pasted = "# pasted\n" * (5 * MB // 9)
    editor.insert(0, 0, pasted, uri)
    assert editor.inline(5 * MB // 9 + 1, 11, uri) == ""
    assert why(daemon, uri)["gate"] == "size"
    editor.replace((0, 0), (pasted.count("\n"), 0), "", uri)
    assert editor.call("llmd/snapshot", uri=uri)["text"] == CODE
    assert editor.inline(*CODE_END, uri)
