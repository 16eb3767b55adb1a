"""Fixtures only. One daemon and model serve all tests whose point is not the life cycle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builtin import builtin_path
from tests.support.daemon import RunningDaemon

# Several processes of tests share the cores: OpenMP's threads would spin for one that does not run.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")

# A shell that starts tests in the background has them ignore Ctrl-C, and what they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def models_dir() -> Path:
    return builtin_path().parent


@pytest.fixture(scope="session")
def daemon(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(models_dir, tmp_path_factory.mktemp("llmd")) as running:
        yield running


@pytest.fixture
def own_daemon(models_dir: Path, tmp_path: Path) -> Iterator[RunningDaemon]:
    """A daemon that the test may kill."""
    with RunningDaemon(models_dir, tmp_path) as running:
        yield running


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[RunningDaemon]:
    """The folders of a daemon that is not started, and in which there is no model."""
    unstarted = RunningDaemon(tmp_path / "no-models", tmp_path)
    yield unstarted
    unstarted.close()
