"""Other people's plugins, which are tried beside ours: git clones by their names in the folder
`editors` of LLMD_TEST_CACHE, or of tests/.cache. Nothing here fetches them. blink.cmp is its v1:
a later one does not run in Neovim 0.11."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def clone(name: str) -> Path:
    """Skips, with the reason, where it is not there."""
    cache = os.environ.get("LLMD_TEST_CACHE") or Path(__file__).parents[1] / ".cache"
    folder = Path(cache).resolve() / "editors" / name
    if not folder.is_dir():
        pytest.skip(f"no clone of {name} in the folder `editors` of the test cache")
    return folder
