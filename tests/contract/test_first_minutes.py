"""What a person sees in the editor before all is well: each thing once, then nothing more."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.builtin import base_path
from tests.support.daemon import RunningDaemon, wait_until
from tests.support.editor import INLINE, Editor

PROGRESS = INLINE | {"window": {"workDoneProgress": True}}
CODE = "import os\n\n\ndef walk(path):\n    "
FILE = "smollm2-135m-fim-3-Q8_0.gguf"


def shown(editor: Editor) -> list[str]:
    """Messages, and the kinds of a progress; of many reports in a row one."""
    editor.call("llmd/status")
    said: list[str] = []
    for note in editor.notifications:
        params: dict[str, Any] = note.get("params", {})
        word = params.get("message") or params.get("value", {}).get("kind")
        if word and not (word == "report" == said[-1]):
            said.append(word)
    return said


def test_a_missing_model_is_told_once_and_loads_when_it_has_come(
    alone: RunningDaemon, models_dir: Path
) -> None:
    editor = Editor(alone, capabilities=PROGRESS)
    editor.open(CODE)
    for _ in range(3):
        assert editor.inline(4, 4) == ""
    missing = "llmd: Model `builtin` is not on this machine; run `llmd pull builtin`"
    assert [word for word in shown(editor) if word.startswith("llmd")] == [missing]
    models = Path(alone.env["LLMD_MODELS_DIR"])
    models.mkdir()
    shutil.copy(models_dir / FILE, models / FILE)
    assert editor.inline(4, 4)  # the very next request
    assert shown(editor)[-3:] == ["begin", "report", "end"]
    n_shown = len(editor.notifications)
    assert editor.inline(4, 4)
    shown(editor)
    assert len(editor.notifications) == n_shown
    editor.close()
    alone.llmd("stop")


def test_a_pull_under_way_is_shown_and_waited_for(alone: RunningDaemon, models_dir: Path) -> None:
    models = Path(alone.env["LLMD_MODELS_DIR"])
    models.mkdir()
    with (models / ".pull.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as `llmd pull` does
        editor = Editor(alone, capabilities=PROGRESS)
        found = wait_until(
            lambda: alone.status()["reason"] and alone.status(), "the daemon sees the pull"
        )
        assert (found["state"], found["reason"]) == ("loading", "The model is being pulled")
        shutil.copy(models_dir / FILE, models / FILE)
    wait_until(lambda: alone.status()["state"] == "ready", "it loads by itself")
    assert shown(editor)[-1] == "end"
    values = [n["params"].get("value", {}) for n in editor.notifications]
    told = [value["message"] for value in values if "message" in value]
    assert "The model is being pulled" in told
    assert told[-2:] == ["loading the model", "ready"]
    editor.close()
    alone.llmd("stop")


def test_an_untrained_model_is_named_once(models_dir: Path, tmp_path: Path) -> None:
    with RunningDaemon(models_dir, tmp_path, f'model = "{base_path()}"\n') as daemon:
        notice = daemon.status()["notice"]
        editor = Editor(daemon)
        editor.open(CODE)
        for _ in range(2):
            editor.inline(4, 4)
        assert [word for word in shown(editor) if word.startswith("llmd")] == [f"llmd: {notice}"]
        assert "has no FIM tokens" in notice
        editor.close()


def test_a_config_that_stops_the_start_is_told_in_the_editor(alone: RunningDaemon) -> None:
    (alone.folder / "config.toml").write_text("\nmodell = 'x'\n")
    with pytest.raises(AssertionError) as reply_to_initialize:
        Editor(alone)
    told = "line 2: `modell` is not a known key; did you mean `model`?"
    assert told in str(reply_to_initialize.value)
