"""What the counts of suggestions keep, and what becomes of a file that is not theirs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from pathlib import Path
from typing import get_args

import pytest

from llmd.completion.types import Outcome, OutcomeKind
from llmd.daemon import suggestion_stats
from llmd.daemon.suggestion_stats import MAX_NAME_CHARS, MAX_ROWS, OTHERS, SuggestionStats

SHOWN = Outcome("shown", 12)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outcomes.json"


def saved(path: Path) -> SuggestionStats:
    counts = SuggestionStats(path)
    counts.add("python", "m", SHOWN)
    counts.save()
    return counts


@pytest.mark.parametrize("kind", get_args(OutcomeKind))
def test_each_kind_is_counted_apart_and_kept(path: Path, kind: OutcomeKind) -> None:
    counts = SuggestionStats(path)
    for n_chars in (3, 4):
        counts.add("lua", "m", Outcome(kind, n_chars))
    counts.save()
    (row,) = SuggestionStats(path).rows()
    counted = {name: getattr(row, name) for name in get_args(OutcomeKind)}
    assert {name: count.n for name, count in counted.items() if count.n} == {kind: 2}
    assert counted[kind].n_chars == 7
    assert (row.filetype, row.model) == ("lua", "m")


def test_the_file_is_the_users_alone_and_replaced_whole(path: Path, tmp_path: Path) -> None:
    path.write_text('{"rows": []}')
    path.chmod(0o600)
    old = path.stat().st_ino
    saved(path)
    assert path.stat().st_ino != old
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["outcomes.json"]


def test_nothing_is_written_where_nothing_has_changed(path: Path) -> None:
    SuggestionStats(path).save()
    assert not path.exists()
    counts = saved(path)
    path.unlink()
    counts.save()
    assert not path.exists()


def test_rows_and_names_have_a_bound(path: Path) -> None:
    counts = SuggestionStats(path)
    for no in range(2 * MAX_ROWS):
        counts.add(f"{no}", "m", SHOWN)
    counts.add("0", "m", SHOWN)
    rows = {row.filetype: row.shown.n for row in counts.rows()}
    assert (len(rows), rows["0"], rows[OTHERS]) == (MAX_ROWS + 1, 2, MAX_ROWS)
    counts.save()
    assert SuggestionStats(path).rows() == counts.rows()
    one = SuggestionStats(path.with_name("none"))
    one.add("x" * 1000, "\x1b[2J", SHOWN)
    (row,) = one.rows()
    assert (len(row.filetype), row.model) == (MAX_NAME_CHARS, "\\x1b[2J")


BROKEN = [b"", b"{", b"[]", b"\xff", b'{"rows": [{"filetype": 5}]}', b'{"rows": null}']


@pytest.mark.parametrize("data", BROKEN)
def test_a_broken_file_is_set_aside_and_told_once(
    path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("outcomes.json.broken", "outcomes.json.broken1"):
        path.write_bytes(data)
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            assert saved(path).rows()[0].shown.n == 1
        assert path.with_name(name).read_bytes() == data
        (record,) = caplog.records
        assert f"`{name}`" in record.message


def test_a_full_disk_is_told_once_and_loses_nothing(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = SuggestionStats(path)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(os, "open", _full)
        for _ in range(3):
            counts.add("python", "m", SHOWN)
            counts.save()
    assert len(caplog.records) == 1
    counts.save()
    assert SuggestionStats(path).rows()[0].shown.n == 3


def _full(*_: object) -> int:
    raise OSError(28, "No space left on device")


async def test_changes_are_written_together_and_at_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def write(_: Path, data: bytes) -> None:
        written.append(json.loads(data)["rows"][0]["shown"]["n"])

    monkeypatch.setattr(suggestion_stats, "write_whole", write)
    counts = SuggestionStats(path)
    keeping = asyncio.create_task(counts.save_periodically())
    counts.add("python", "m", SHOWN)
    await asyncio.sleep(0.01)
    for _ in range(5):
        counts.add("python", "m", SHOWN)
        await asyncio.sleep(0)
    assert written == [1]
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert written == [1, 6]
