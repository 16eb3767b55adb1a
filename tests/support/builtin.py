"""Builds the real built-in model and its base once, and stores them between test runs in
LLMD_TEST_CACHE or tests/.cache."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from llmd.models.pull import build_builtin


def builtin_path() -> Path:
    models = _cache() / "models"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMD_MODELS_DIR", str(models))
        return build_builtin.pull_builtin(_quiet)


def base_path() -> Path:
    """Returns the base model that the built-in model was merged from."""
    base = _cache() / Path(build_builtin.BASE_MEMBER).name
    if not base.is_file():
        with tempfile.TemporaryDirectory(dir=base.parent) as folder:
            os.replace(build_builtin.fetch_base(Path(folder), _quiet), base)
    return base


def _cache() -> Path:
    override = os.environ.get("LLMD_TEST_CACHE")
    cache = Path(override) if override else Path(__file__).parents[1] / ".cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    return cache


def _quiet(_stage: str, _share: float) -> None:
    pass
