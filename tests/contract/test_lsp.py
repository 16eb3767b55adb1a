"""Editors through the real bridge, the real daemon and the real model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.support.daemon import RunningDaemon, wait_until
from tests.support.editor import Editor, text_of

from llmd.transport.framing import frame

CODE = """class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return 3.14 * self.radius * self.radius

    def perimeter(self):
        """

MakeEditor = Callable[..., Editor]


@pytest.fixture
def editor(daemon: RunningDaemon) -> Iterator[MakeEditor]:
    """Makes editors; each ends by the protocol unless its bridge is gone."""
    made: list[Editor] = []

    def make(**options: object) -> Editor:
        made.append(Editor(daemon, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.close()
        one.process.stdin.close()  # type: ignore[union-attr]
        one.process.wait(10)
        one.process.stdout.close()  # type: ignore[union-attr]


def test_text_comes_at_the_cursor(editor: MakeEditor) -> None:
    one = editor()
    one.open(CODE)
    assert "return" in one.inline(8, 8)


def test_a_typed_character_costs_a_few_tokens(editor: MakeEditor, daemon: RunningDaemon) -> None:
    one = editor()
    one.open(CODE)
    one.inline(8, 8)
    before = daemon.counts()
    one.insert(8, 8, "length")
    one.inline(8, 14)
    after = daemon.counts()
    assert after["n_prefill"] - before["n_prefill"] <= 8
    assert after["n_cached"] - before["n_cached"] >= 40


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_columns_are_counted_in_the_agreed_encoding(editor: MakeEditor, encoding: str) -> None:
    """The answer's range and the edit's place must both be right after an emoji and an umlaut."""
    one = editor(encodings=(encoding,))
    assert one.initialized["capabilities"]["positionEncoding"] == encoding
    line = "    name = '😋ü'; return "
    n_units = {"utf-8": len(line.encode()), "utf-16": len(line) + 1, "utf-32": len(line)}[encoding]
    one.open("def f(radius):\n" + line + "XX\n")
    one.replace((1, n_units), (1, n_units + 2), "")
    reply = one.answer(one.ask_inline(1, n_units))
    [item] = reply["result"]["items"]
    assert item["range"]["start"] == {"line": 1, "character": n_units}
    assert "XX" not in item["insertText"]


def test_a_newer_request_supersedes_and_each_is_answered_once(
    editor: MakeEditor, daemon: RunningDaemon
) -> None:
    one = editor()
    one.open(CODE)
    before = daemon.counts()
    ids = [one.ask_inline(8, 8 - k) for k in range(5)]
    texts = [text_of(one.answer(id_)) for id_ in ids]
    assert texts[:-1] == [""] * 4
    after = wait_until(
        lambda: (now := daemon.counts())["requests"] == before["requests"] + 5 and now,
        "all five are counted",
    )
    assert sum(after["by_path"].values()) == after["requests"]
    one.call("textDocument/inlineCompletion", **_params(8, 8))
    assert [len(one.replies[id_]) for id_ in ids] == [1] * 5


def _params(line: int, col: int) -> dict[str, object]:
    return {
        "textDocument": {"uri": "file:///t/editor.py"},
        "position": {"line": line, "character": col},
        "context": {"triggerKind": 1},
    }


def test_an_edit_makes_the_request_before_it_stale(editor: MakeEditor) -> None:
    one = editor()
    one.open(CODE)
    id_ = one.ask_inline(8, 8)
    one.insert(8, 8, "x")
    assert text_of(one.answer(id_)) == ""


def test_a_cancelled_request_gets_its_one_error(editor: MakeEditor) -> None:
    one = editor()
    one.open(CODE)
    id_ = one.ask_inline(8, 8)
    one.send("$/cancelRequest", id=id_)
    assert one.answer(id_)["error"]["code"] == -32800
    assert one.inline(8, 8)


def test_keys_that_cancel_in_a_cold_prefill_lose_none_of_it(
    editor: MakeEditor, daemon: RunningDaemon
) -> None:
    """As editors do it: the old request is cancelled and the next one asked, with each key."""
    one = editor()
    above = "".join(f"def area_{n}(radius):\n    return {n} * radius\n\n\n" for n in range(60))
    one.open(above + "x = \n")
    row, col = above.count("\n"), len("x = ")
    before = daemon.counts()
    id_ = one.ask_inline(row, col)
    for n_keys in range(1, 13):
        one.send("$/cancelRequest", id=id_)
        one.insert(row, col, "y")
        col += 1
        id_ = one.ask_inline(row, col)
        wait_until(
            lambda n=n_keys: daemon.counts()["requests"] >= before["requests"] + n,
            "the engine has left the one before",
        )
    one.answer(id_)
    trace = one.call("llmd/why", uri="file:///t/editor.py")["trace"]
    assert trace["n_prompt"] > 700
    assert daemon.counts()["n_prefill"] - before["n_prefill"] <= trace["n_prompt"] + 300


def test_partial_text_comes_where_it_was_asked_for(editor: MakeEditor) -> None:
    one = editor(options={"llmd": {"partial": True}})
    one.open(CODE)
    id_ = one.ask_inline(8, 8)
    text = text_of(one.answer(id_))
    partials = [m["params"] for m in one.notifications if m["method"] == "llmd/partial"]
    assert {p["id"] for p in partials} == {id_}
    assert all(text.startswith(p["text"].rstrip()) for p in partials)


def test_the_popup_item_survives_filters(editor: MakeEditor) -> None:
    one = editor(capabilities={"textDocument": {"completion": {}}})
    assert "completionProvider" in one.initialized["capabilities"]
    one.open(CODE + "return self.ra")
    place = {"textDocument": {"uri": "file:///t/editor.py"}}
    found = one.call("textDocument/completion", **place, position={"line": 8, "character": 22})
    [item] = found["items"]
    assert item["textEdit"]["range"]["start"]["character"] == 20
    assert item["textEdit"]["newText"].startswith("ra")
    assert item["filterText"] == item["textEdit"]["newText"].split("\n")[0]


def test_text_begins_with_what_the_menu_has_selected(editor: MakeEditor) -> None:
    one = editor()
    one.open(CODE + "return self.ra")
    span = {"start": {"line": 8, "character": 20}, "end": {"line": 8, "character": 22}}
    params = _params(8, 22)
    params["context"] = {
        "triggerKind": 2,
        "selectedCompletionInfo": {"range": span, "text": "radius"},
    }
    found = one.call("textDocument/inlineCompletion", **params)
    [item] = found["items"]
    assert item["insertText"].startswith("radius")
    assert item["range"] == span


@pytest.mark.parametrize(
    "uri", ["file:///t/.env", "file:///t/%2Eenv", "file:///t/server.PEM", "output:///t/a.py"]
)
def test_secret_and_foreign_buffers_get_nothing(
    editor: MakeEditor, daemon: RunningDaemon, uri: str
) -> None:
    one = editor()
    one.open("API_KEY=abc\nSECRET=", uri, "text")
    before = daemon.status()["suppressed"]
    assert one.inline(1, 7, uri) == ""
    after = daemon.status()["suppressed"]
    assert sum(after.values()) == sum(before.values()) + 1


@pytest.mark.parametrize(
    "rubbish",
    [b"Content-Length: -5\r\n\r\nrubbish\xff\x00", b"\x00" * 9000, b"GET / HTTP/1.1\r\n\r\n"],
)
def test_rubbish_from_one_editor_changes_nothing_for_another(
    editor: MakeEditor, rubbish: bytes
) -> None:
    good, bad = editor(), editor()
    good.open(CODE)
    bad.write(rubbish)
    bad.process.wait(10)
    assert good.inline(8, 8)


def test_malformed_json_is_answered_and_survived(editor: MakeEditor) -> None:
    one = editor()
    one.write(frame(b"{nonsense"))
    one.write(frame(b'{"jsonrpc": "2.0", "id": 77, "method": "textDocument/inlineCompletion"}'))
    assert "error" in one.answer(77)
    one.open(CODE)
    assert one.inline(8, 8)


def test_an_editor_that_quits_leaves_the_daemon(editor: MakeEditor, daemon: RunningDaemon) -> None:
    one, two = editor(), editor()
    n_clients = len(daemon.status()["clients"])
    one.close()
    two.process.kill()
    wait_until(lambda: len(daemon.status()["clients"]) == n_clients - 2, "both are gone")
    three = editor()
    three.open(CODE)
    assert three.inline(8, 8)


def test_two_editors_have_their_own_text_of_one_file(editor: MakeEditor) -> None:
    one, two = editor(), editor()
    one.open("def add(a, b):\n    return ")
    two.open("import os\n\nprint(os.")
    ids = one.ask_inline(1, 11), two.ask_inline(2, 9)
    assert text_of(one.answer(ids[0])) != text_of(two.answer(ids[1]))


def test_special_spellings_in_a_buffer_are_text(editor: MakeEditor) -> None:
    one = editor()
    one.open(
        '# <|endoftext|> <fim_middle> <filename>\nMARK = "<|endoftext|>"\r\ndef f(a, b):\n\treturn '
    )
    assert one.inline(3, 8)
