"""The log: private, rotated, one line for each record, and silent when the disk is full."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmd.daemon import logs

log = logging.getLogger("llmd.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raises = list(root.handlers), root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = handlers, raises
    root.setLevel(level)


def test_a_line_cannot_be_forged(tmp_path: Path) -> None:
    path = tmp_path / "llmd.log"
    logs.start(path, to_stderr=False)
    log.warning("file `%s`", "a\n2026-01-01 CRITICAL llmd: forged\x1b[2J")
    (line,) = path.read_text().splitlines()
    assert line.endswith(" WARNING llmd.test: file `a\\n2026-01-01 CRITICAL llmd: forged\\x1b[2J`")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_old_lines_go_to_two_more_files_that_are_private_too(tmp_path: Path) -> None:
    logs.start(tmp_path / "llmd.log", to_stderr=False)
    for _ in range(4 * logs.MAX_BYTES // 1000):
        log.warning("x" * 1000)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["llmd.log", "llmd.log.1", "llmd.log.2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert all(path.stat().st_size <= logs.MAX_BYTES for path in tmp_path.iterdir())


def test_the_last_error_is_kept_and_no_warning(tmp_path: Path) -> None:
    last = logs.start(tmp_path / "llmd.log", to_stderr=False)
    log.error("it ended (%s)", "SIGKILL")
    log.warning("nothing much")
    assert last.text == "it ended (SIGKILL)"
    assert last.at_s > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_row_48_a_full_disk_is_nobodys_business(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = logs.start(Path("/dev/full"), to_stderr=False)
    log.error("it ended")
    assert last.text == "it ended"
    assert capsys.readouterr().err == ""


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "llmd.log").symlink_to(tmp_path / "elsewhere")
    logs.start(tmp_path / "llmd.log", to_stderr=False)
    log.error("it ended")
    assert not (tmp_path / "elsewhere").exists()
