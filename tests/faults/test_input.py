"""Text and places of every kind, from the command line and from an editor: each gets an answer or
one sentence, and after each a fresh document is completed (reliability rows 29, 60 to 65)."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from llmd.errors import BadInput
from llmd.place import place_params
from tests.support.daemon import RunningDaemon, wait_until
from tests.support.editor import Editor, text_of
from tests.support.rawlsp import CODE, CODE_END, RawLsp, assert_serves, new_uri, rss_bytes

MB = 1 << 20
MAX_BYTES = 4 * MB
SENTINELS = "<|fim_prefix|><|fim_suffix|><|fim_middle|><|endoftext|><fim_middle><PRE> <MID>"

# -- FILE:LINE:COL


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every kind of thing a name can lead to; the test is in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMD_CONFIG", "c.toml")
    contents = {
        "a.py": b"x = 1\ny = '\xf0\x9f\x98\x8b'",
        "empty": b"",
        "a:2:3": b"one\n",
        "nul": b"ab\0c",
        "latin": b"caf\xe9 = 1",
        "mark": b"\xef\xbb\xbfx = 1\r\ny\r",
        "full": b"x" * 100,
        "line\n\x1b[2J": b"x",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / os.fsdecode(b"\xff.py")).write_bytes(b"x = ")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(50 * MB)
    with (tmp_path / "over").open("wb") as over:
        over.truncate(MAX_BYTES + 1)
    return tmp_path


NO_FORM = "Place `{place}` is not FILE:LINE:COL, for example `main.py:12:5`"
TOO_BIG = "MB, llmd completes in files up to 4.0 MB; raise `context.max_file_bytes` in `c.toml`"

BAD_PLACES = [
    *(
        pytest.param(bad, NO_FORM.format(place=bad), id=f"form {bad or 'empty'}")
        for bad in ("", "a.py", "a.py:1", "a.py:1:", "a.py::1", ":1:1", "a.py:-1:1", "a.py:1:1.5",
                    "a.py:²:1", "a.py:١:1", "a.py:1:1 ", "a.py:+1:1", "a.py:0x1:1")
    ),
    pytest.param("z" * 999, NO_FORM.format(place="z" * 200), id="form, long"),
    pytest.param("\x1b[2J\n", NO_FORM.format(place="\\x1b[2J\\n"), id="form, escape sequence"),
    *(
        pytest.param(f"{name}:1:1", said, id=name)
        for name, said in {
            "none.py": "File `none.py` cannot be read: No such file or directory; give a text file",
            "a.py/b": "File `a.py/b` cannot be read: Not a directory; give a text file",
            "loop": "File `loop` cannot be read: Too many levels of symbolic links; give a text "
            "file",
            "n" * 300: f"File `{'n' * 300}` cannot be read: File name too long; give a text file",
            "a\0b": "File `a\\x00b` cannot be read: no file has such a name",
            "folder": "Folder `folder` is not a file; give a text file",
            ".": "Folder `.` is not a file; give a text file",
            "pipe": "Pipe `pipe` is not a file; give a text file",
            "socket": "Socket `socket` is not a file; give a text file",
            "/dev/zero": "Device `/dev/zero` is not a file; give a text file",
            "/dev/tty": "Device `/dev/tty` is not a file; give a text file",
            "huge": f"File `huge` has 50.0 {TOO_BIG}",
            "over": f"File `over` has 4.1 {TOO_BIG}",
            "nul": "File `nul` is binary (NUL at byte 2); give a text file",
            "latin": "File `latin` is not UTF-8 text (byte 3); convert it to UTF-8",
        }.items()
    ),
    *(
        pytest.param(where, said, id=where[:24])
        for where, said in {
            "a.py:0:1": "Line 0 is outside `a.py`, which has lines 1 to 2",
            "a.py:3:1": "Line 3 is outside `a.py`, which has lines 1 to 2",
            "a.py:1:0": "Column 0 is outside line 1 of `a.py`, which has columns 1 to 6",
            "a.py:2:9": "Column 9 is outside line 2 of `a.py`, which has columns 1 to 8",
            "mark:1:7": "Column 7 is outside line 1 of `mark`, which has columns 1 to 6",
            "empty:2:1": "Line 2 is outside `empty`, which has lines 1 to 1",
            "empty:1:2": "Column 2 is outside line 1 of `empty`, which has columns 1 to 1",
            "a:2:3:9:1": "Line 9 is outside `a:2:3`, which has lines 1 to 2",
            f"a.py:{'9' * 5000}:1": "Line 999999999999… is outside `a.py`, which has lines 1 to 2",
            f"a.py:1:{'9' * 5000}": "Column 999999999999… is outside line 1 of `a.py`, "
            "which has columns 1 to 6",
            "line\n\x1b[2J:7:1": "Line 7 is outside `line\\n\\x1b[2J`, which has lines 1 to 1",
            "\udcff.py:7:1": "Line 7 is outside `\\udcff.py`, which has lines 1 to 1",
        }.items()
    ),
]  # fmt: skip


@pytest.mark.parametrize(("where", "said"), BAD_PLACES)
@pytest.mark.usefixtures("folder")
@pytest.mark.timeout(5)
def test_a_bad_place_has_its_sentence(where: str, said: str) -> None:
    """Row 29 for text: nothing hangs, nothing is read that is too big."""
    with pytest.raises(BadInput) as raised:
        place_params(where, MAX_BYTES)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("where", "text", "line", "col", "ends"),
    [
        ("a.py:1:1", "x = 1\ny = '😋'", 0, 0, "/a.py"),
        ("a.py:2:8", "x = 1\ny = '😋'", 1, 7, "/a.py"),
        (f"a.py:{'0' * 5000}1:{'0' * 5000}6", "x = 1\ny = '😋'", 0, 5, "/a.py"),
        ("empty:1:1", "", 0, 0, "/empty"),
        ("a:2:3:1:4", "one\n", 0, 3, "/a%3A2%3A3"),
        ("a:2:3:2:1", "one\n", 1, 0, "/a%3A2%3A3"),
        ("mark:1:6", "x = 1\r\ny\r", 0, 5, "/mark"),
        ("mark:2:2", "x = 1\r\ny\r", 1, 1, "/mark"),
        ("mark:3:1", "x = 1\r\ny\r", 2, 0, "/mark"),
        ("\udcff.py:1:5", "x = ", 0, 4, "/%FF.py"),
        ("full:1:101", "x" * 100, 0, 100, "/full"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_good_place_is_taken(where: str, text: str, line: int, col: int, ends: str) -> None:
    params = place_params(where, 100)
    assert params.pop("uri").endswith(ends)
    assert params == {"languageId": "", "text": text, "line": line, "col": col}


@contextmanager
def _nobody() -> Iterator[None]:
    """Root may read all; so as another user, where we are root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_the_right_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "a.py").touch(mode=0)
        monkeypatch.chdir(name)
        with _nobody(), pytest.raises(BadInput) as raised:
            place_params("a.py:1:1", MAX_BYTES)
    said = "File `a.py` cannot be read: Permission denied; give a text file"
    assert str(raised.value) == said


def test_what_becomes_a_pipe_meanwhile_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the opening another thing may have taken the name."""
    found = os.stat(folder / "a.py")
    monkeypatch.setattr(os, "stat", lambda _: found)
    with pytest.raises(BadInput, match=r"^Pipe `pipe` is not a file"):
        place_params("pipe:1:1", MAX_BYTES)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="no /proc here")
def test_a_file_whose_size_is_a_lie_is_bounded() -> None:
    with pytest.raises(BadInput, match=r"^File `/proc/self/smaps` has 0\.\d MB"):
        place_params("/proc/self/smaps:1:1", 100)


@pytest.mark.parametrize(
    ("where", "said"),
    [row for row in BAD_PLACES if row.id in ("pipe", "huge", "nul", "a.py:0:1", "\udcff.py:7:1",
                                             "line\n\x1b[2J:7:1", "form a.py")],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_the_command_says_it_in_one_line(
    daemon: RunningDaemon, where: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(daemon.env, "LLMD_CONFIG", "c.toml")
    done = daemon.llmd("complete", where)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"llmd: {said}\n")


def test_a_name_that_is_no_utf8_is_completed(daemon: RunningDaemon, folder: Path) -> None:
    done = daemon.llmd("complete", os.fsdecode(bytes(folder) + b"/\xff.py:1:5"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@pytest.mark.parametrize("link", [b"link.py", b"\xff.py", "ü.py".encode()])
def test_a_link_to_a_secret_is_one(daemon: RunningDaemon, tmp_path: Path, link: bytes) -> None:
    """Row 67: whatever bytes its name has."""
    (tmp_path / ".env").write_text("KEY = \n")
    (tmp_path / os.fsdecode(link)).symlink_to(".env")
    done = daemon.llmd("complete", os.fsdecode(bytes(tmp_path) + b"/" + link + b":1:7"))
    assert (done.returncode, done.stderr) == (1, "llmd: No completion: secret\n")


# -- an editor


@pytest.fixture(scope="module")
def shared(daemon: RunningDaemon) -> Iterator[Editor]:
    one = Editor(daemon)
    yield one
    with suppress(Exception):
        one.close()


@pytest.fixture
def editor(shared: Editor, daemon: RunningDaemon) -> Iterator[Editor]:
    """One for all rows; after each a fresh document is still served, by the same worker."""
    pid = daemon.status()["worker_pid"]
    yield shared
    uri = new_uri()
    shared.open(CODE, uri)
    assert shared.inline(*CODE_END, uri)
    shared.send("textDocument/didClose", textDocument={"uri": uri})
    assert daemon.status()["worker_pid"] == pid


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


# -- row 61: changes that do not fit

Steps = Callable[[Editor, str], None]


def _change(version: Any, text: str = "X", start: Any = (0, 0), end: Any = (0, 0)) -> Steps:
    def send(editor: Editor, uri: str) -> None:
        places = [{"line": line, "character": col} for line, col in (start, end)]
        item = {"uri": uri} | ({} if version == "none" else {"version": version})
        change = {"range": dict(zip(("start", "end"), places, strict=True)), "text": text}
        editor.send("textDocument/didChange", textDocument=item, contentChanges=[change])

    return send


def _raw(method: str, **params: Any) -> Steps:
    return lambda editor, uri: editor.send(method, textDocument={"uri": uri}, **params)


def _close(editor: Editor, uri: str) -> None:
    editor.send("textDocument/didClose", textDocument={"uri": uri})


def _open(editor: Editor, uri: str) -> None:
    editor.open("ab\ncd", uri)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        pytest.param([_open, _change(2), _change(3, "Y")], "YXab\ncd", id="in order"),
        pytest.param([_open, _change(5), _change(3, "Y")], "YXab\ncd", id="out of order"),
        pytest.param([_open, _change(2), _change(2, "Y")], "YXab\ncd", id="version twice"),
        pytest.param([_open, _change(99)], "Xab\ncd", id="versions left out"),
        pytest.param([_open, _change(-7)], "Xab\ncd", id="negative version"),
        pytest.param([_open, _change(2, "X", (1, 1), (0, 1))], "aXd", id="end before start"),
        pytest.param([_open, _change(2, "X", (9, 9), (7, 7))], "ab\ncdX", id="range outside"),
        pytest.param([_open, _change(2, "", (0, 0), (10**9, 0))], "", id="all and more"),
        pytest.param([_open, _change(2, "\ud800")], "\ufffdab\ncd", id="row 60: surrogate"),
        pytest.param([_change(2)], None, id="never opened"),
        pytest.param([_open, _close, _change(2)], None, id="closed before"),
        pytest.param([_open, _close, _close], None, id="closed twice"),
        pytest.param([_close, _open], "ab\ncd", id="closed, then opened"),
        pytest.param([_open, _change(2), _open], "ab\ncd", id="opened twice"),
        pytest.param([_open, _raw("textDocument/didSave")], "ab\ncd", id="saved"),
    ],
)
def test_changes_apply_in_the_order_they_come(
    editor: Editor, steps: list[Steps], text: str | None
) -> None:
    """Row 61: versions say what is stale, not what is where."""
    uri = new_uri()
    for step in steps:
        step(editor, uri)
    assert "error" not in editor.answer(editor.ask_inline(0, 1, uri))
    held = editor.call("llmd/snapshot", uri=uri)
    assert (held and held["text"]) == text
    _close(editor, uri)


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param(_change("none"), id="no version"),
        pytest.param(_change(None), id="version null"),
        pytest.param(_change("2"), id="version a string"),
        pytest.param(_change(2, start=(-1, 0)), id="negative line"),
        pytest.param(_raw("textDocument/didChange", contentChanges=3), id="changes a number"),
        pytest.param(_raw("textDocument/didChange"), id="no changes"),
        pytest.param(_change(2, text=None), id="text null"),  # type: ignore[arg-type]
    ],
)
def test_after_a_change_that_is_lost_nothing_stale_is_shown(editor: Editor, lost: Steps) -> None:
    """Row 61, promise 1: until the text is known again there is no answer."""
    uri = new_uri()
    editor.open(CODE, uri)
    lost(editor, uri)
    answer = editor.answer(editor.ask_inline(*CODE_END, uri))
    held = editor.call("llmd/snapshot", uri=uri)
    assert answer.get("result") is None or held["text"] == "X" + CODE
    editor.send(
        "textDocument/didChange",
        textDocument={"uri": uri, "version": 3},
        contentChanges=[{"text": CODE}],
    )
    assert editor.inline(*CODE_END, uri)
    _close(editor, uri)
