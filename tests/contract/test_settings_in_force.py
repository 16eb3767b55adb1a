"""Settings under a running daemon: what a change costs, and what a bad one does not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tests.support.daemon import GREEDY, RunningDaemon, wait_until
from tests.support.editor import Editor, text_of

CODE = "def add(a, b):\n    return $0\n"


def in_force(daemon: RunningDaemon) -> dict[str, Any]:
    """Values and sources by key, as `llmd config` tells them."""
    rows = json.loads(daemon.llmd("config", "--json").stdout)["rows"]
    return {row["key"]: (row["value"], row["source"]) for row in rows}


def test_a_change_of_sampling_or_limits_costs_no_reload(own_daemon: RunningDaemon) -> None:
    worker_pid = own_daemon.status()["worker_pid"]
    assert in_force(own_daemon)["sampling.profile"] == ("greedy", "file")
    assert in_force(own_daemon)["completion.max_lines"] == (8, "default")
    own_daemon.edit_config("[completion]\nmax_tokens = 1\n")
    wait_until(lambda: in_force(own_daemon)["completion.max_tokens"] == (1, "file"), "it is read")
    assert own_daemon.complete(CODE)["trace"]["n_decoded"] == 1
    assert own_daemon.status()["worker_pid"] == worker_pid


def test_a_debounce_asks_the_model_for_the_last_of_the_keys(own_daemon: RunningDaemon) -> None:
    own_daemon.edit_config(GREEDY + "[completion]\ndebounce_ms = 300\ndeadline_ms = 60000\n")
    wait_until(lambda: own_daemon.status()["debounce_ms"] == 300, "it is read")
    editor = Editor(own_daemon)
    editor.open("def area(radius):\n    return ")
    asked = [editor.ask_inline(1, 11, invoked=False) for _ in range(4)]
    texts = [text_of(editor.answer(id_)) for id_ in asked]
    assert texts[:3] == ["", "", ""]
    assert texts[3]
    counts = own_daemon.counts()
    assert counts["by_path"] == {"superseded": 3, "cold": 1}
    assert counts["n_prompt"] == own_daemon.llmd_json("why")["trace"]["n_prompt"]
    editor.close()


def test_a_change_of_the_engine_loads_the_model_anew(own_daemon: RunningDaemon) -> None:
    worker_pid = own_daemon.status()["worker_pid"]
    own_daemon.edit_config("[engine]\nn_ctx = 512\n")
    wait_until(lambda: own_daemon.status()["model"]["n_ctx"] == 512, "it is loaded anew")
    assert own_daemon.status()["worker_pid"] != worker_pid


def test_a_file_that_the_watch_cannot_read_does_not_end_it(own_daemon: RunningDaemon) -> None:
    """A name that is no text, and a folder that was made anew."""
    (own_daemon.folder / os.fsdecode(b"\xff")).touch()
    time.sleep(2)
    own_daemon.edit_config("[completion]\nmax_lines = 3\n")
    wait_until(lambda: in_force(own_daemon)["completion.max_lines"] == (3, "file"), "it is read")


def test_row_45_a_bad_file_keeps_the_old_values_and_is_told_once(own_daemon: RunningDaemon) -> None:
    editor = Editor(own_daemon)
    path = own_daemon.folder / "config.toml"
    worker_pid = own_daemon.status()["worker_pid"]
    own_daemon.edit_config("[sampling]\n\ntemprature = 1\n")
    problem = wait_until(lambda: own_daemon.status()["config"]["problem"], "it is told")
    assert problem.startswith(f"Config `{path}`, line 3: ")
    assert "`sampling.temprature`" in problem
    assert "`sampling.temperature`" in problem
    assert problem.endswith("; the old settings stay in effect")
    assert in_force(own_daemon)["sampling.profile"] == ("greedy", "file")
    own_daemon.edit_config(GREEDY)
    wait_until(lambda: not own_daemon.status()["config"]["problem"], "it is well again")
    editor.call("llmd/status")
    shown = [n["params"]["message"] for n in editor.notifications if "Message" in n["method"]]
    assert shown == [f"llmd: {problem}"]
    assert own_daemon.status()["worker_pid"] == worker_pid
    editor.close()


def test_a_flag_comes_before_the_file_and_a_change_keeps_it(
    models_dir: Path, tmp_path: Path
) -> None:
    flags = ("--set", "completion.max_lines=3")
    with RunningDaemon(models_dir, tmp_path, GREEDY, flags) as daemon:
        assert in_force(daemon)["completion.max_lines"] == (3, "flag")
        daemon.edit_config("[completion]\nmax_lines = 5\nmax_tokens = 9\n")
        wait_until(lambda: in_force(daemon)["completion.max_tokens"] == (9, "file"), "it is read")
        assert in_force(daemon)["completion.max_lines"] == (3, "flag")


def test_use_sets_and_loads_a_model(own_daemon: RunningDaemon, models_dir: Path) -> None:
    path = own_daemon.folder / "mine.gguf"
    path.symlink_to(models_dir / "smollm2-135m-fim-3-Q8_0.gguf")
    config = own_daemon.folder / "config.toml"
    config.write_text("# mine\n" + GREEDY)
    done = own_daemon.llmd("use", str(path))
    assert (done.returncode, done.stdout) == (0, "SmolLM2-135M-FIM (Q8_0) is loaded\n")
    assert own_daemon.status()["model"]["path"] == str(path)
    assert "# mine\n" in config.read_text()
    assert in_force(own_daemon)["model"] == (str(path), "file")
    before = config.read_text()
    missing = own_daemon.llmd("use", str(path) + ".no")
    assert (missing.returncode, config.read_text()) == (2, before)
    assert f"Model file `{path}.no` does not exist" in missing.stderr


def test_a_workspaces_file_takes_away_and_nothing_else(
    daemon: RunningDaemon, tmp_path: Path
) -> None:
    """Row 68."""
    (tmp_path / ".llmd.toml").write_text('model = "/evil.gguf"\nignore = ["made/"]\n')
    (tmp_path / "made").mkdir()
    traces = {
        name: daemon.complete(CODE, uri=(tmp_path / name).as_uri())["trace"]
        for name in ("made/a.py", "a.py")
    }
    assert (traces["made/a.py"]["path"], traces["made/a.py"]["reason"]) == ("suppressed", "ignored")
    assert traces["a.py"]["path"] in ("cold", "warm")
    assert "/evil.gguf" not in daemon.status()["model"]["path"]
    log = (daemon.folder / "state" / "llmd.log").read_text()
    assert log.count(f"{tmp_path}/.llmd.toml") == 1
