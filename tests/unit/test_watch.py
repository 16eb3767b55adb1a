"""A folder that is not watched is reported; one that is watched, or does not exist yet, is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmd.config import watch


def fail_times(monkeypatch: pytest.MonkeyPatch, n_failures: int) -> None:
    """Lets the first `n_failures` watches break off, and the later ones wait."""
    begun = 0

    async def awatch(*_: object, **__: object) -> AsyncIterator[None]:
        nonlocal begun
        begun += 1
        if begun <= n_failures:
            raise OSError(28, "No space left on device")
        while True:
            await asyncio.sleep(0.01)
            yield None

    monkeypatch.setattr(watch, "awatch", awatch)
    monkeypatch.setattr(watch, "POLL_MS", 10)


async def n_warnings(path: Path, caplog: pytest.LogCaptureFixture) -> int:
    """Waits for a change, which has to be seen with and without a watch."""
    watching = watch.changes(path)
    change = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(_write, path)
    await asyncio.wait_for(change, 10)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return len(caplog.records)


def _write(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")


@pytest.mark.parametrize(("n_failures", "expected"), [(0, 0), (1, 0), (10**6, 1)])
async def test_a_watch_that_cannot_be_begun_is_reported_once(
    n_failures: int,
    expected: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_times(monkeypatch, n_failures)
    assert await n_warnings(tmp_path / "config.toml", caplog) == expected


async def test_a_folder_that_does_not_exist_yet_is_not_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_MS", 10)
    assert await n_warnings(tmp_path / "llmd" / "config.toml", caplog) == 0
