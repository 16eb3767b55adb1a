"""Places on the command line, of every kind: a completion, or one sentence and exit code 2
(reliability row 29, for text)."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmd.cli.location import place_params
from llmd.errors import BadInput
from tests.support.daemon import RunningDaemon
from tests.support.rawlsp import MB

MAX_BYTES = 4 * MB


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
    assert params.uri.endswith(ends)
    assert (params.languageId, params.text, params.line, params.col) == ("", text, line, col)


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


@contextmanager
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pytest itself needs what was patched."""
    try:
        yield
    finally:
        monkeypatch.undo()


@pytest.mark.timeout(5)
def test_what_becomes_a_pipe_meanwhile_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the opening another thing may have taken the name."""
    found = os.stat(folder / "a.py")
    monkeypatch.setattr(os, "stat", lambda _: found)
    with _as_before(monkeypatch), pytest.raises(BadInput, match=r"^Pipe `pipe` is not a file"):
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
