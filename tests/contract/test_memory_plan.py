"""`llmd status --plan` of a real daemon with the built-in model."""

from __future__ import annotations

from pathlib import Path

from tests.support.builtin import builtin_path
from tests.support.daemon import GREEDY, RunningDaemon, wait_until


def test_status_explains_the_plan(tmp_path: Path) -> None:
    config = GREEDY + "[engine]\nn_ctx = 1024\nn_ubatch = 32\nprio = -1\n"
    with RunningDaemon(builtin_path().parent, tmp_path, config) as daemon:
        told = daemon.llmd("status", "--plan").stdout
        assert "Context: 1024 tokens (set by you)" in told
        assert "Batches: 64 tokens, computed 32 at a time (set by you) in 7 MB." in told
        assert "Priority: -1 (set by you)." in told
        assert "MiB were planned." in told
        status = daemon.status()
        assert told.startswith("\n".join(status["model"]["plan"]))
        assert status["pressure"]["step"] == 0
        number = [*Path(f"/proc/{status['worker_pid']}/stat").read_text().split()][18]
        assert number == "5"  # nice


def test_a_number_that_does_not_fit_is_named_and_no_worker_dies(tmp_path: Path) -> None:
    with RunningDaemon(builtin_path().parent, tmp_path) as daemon:
        daemon.edit_config(GREEDY + '[engine]\nn_ctx = 1048576\ncache_type_k = "f16"\n')
        wait_until(lambda: daemon.status()["state"] == "failed", "it is refused")
        reason = daemon.status()["reason"]
        assert "does not fit in memory with this config: `engine.n_ctx` is 1048576" in reason
        assert "No model is loaded (failed" in daemon.llmd("status", "--plan").stdout
        daemon.edit_config(GREEDY)
        wait_until(lambda: daemon.status()["state"] == "ready", "it loads again")
