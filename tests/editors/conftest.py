"""For editors that know no plugin of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import GREEDY, RunningDaemon

PATIENT = GREEDY + "[completion]\ndeadline_ms = 60000\n"


@pytest.fixture
def patient(models_dir: Path, tmp_path: Path) -> Iterator[RunningDaemon]:
    """On a busy machine a client of LSP gets its text late rather than never."""
    with RunningDaemon(models_dir, tmp_path, PATIENT) as running:
        yield running
