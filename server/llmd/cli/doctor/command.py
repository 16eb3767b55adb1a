"""Runs `llmd doctor`: checks everything at once and prints the findings."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from llmd import paths
from llmd.cli.doctor.build import judge_build, read_build, read_hardware
from llmd.cli.doctor.config_and_model import judge_config, judge_model, read_model, with_vocabulary
from llmd.cli.doctor.daemon import judge_daemon, judge_paths, read_daemon, read_paths
from llmd.cli.doctor.editors import judge_command, judge_editors, read_command, read_editors
from llmd.cli.doctor.finding import Finding, count_problems, findings_text
from llmd.cli.doctor.llama_probe import probe_llama
from llmd.cli.doctor.memory import judge_memory, read_memory, read_plan
from llmd.cli.doctor.running_neovim import check_this_neovim
from llmd.config import Config
from llmd.config.load import load_settings
from llmd.errors import BadInput


def doctor(args: argparse.Namespace) -> int:
    """Returns 1 where there is a problem."""
    with ThreadPoolExecutor() as pool:
        neovim, editors = pool.submit(check_this_neovim), pool.submit(read_editors)
        findings = [*_check_engine_and_daemon(pool), judge_command(read_command())]
        findings += [*judge_editors(editors.result()), *neovim.result()]
    n_problems = count_problems(findings)
    report = {"n_problems": n_problems, "findings": [asdict(finding) for finding in findings]}
    print(json.dumps(report) if args.json else findings_text(findings))
    return 1 if n_problems else 0


def _check_engine_and_daemon(pool: ThreadPoolExecutor) -> Iterator[Finding]:
    reading = pool.submit(read_daemon)
    config, source, problem = _settings()
    model, header = read_model(config, source)
    llama = probe_llama(model.path)
    yield from judge_build(read_build(llama), read_hardware())
    yield judge_config(str(paths.config_path()), paths.config_path().exists(), problem)
    yield from judge_model(with_vocabulary(model, llama))
    daemon = reading.result()
    plan = read_plan(model.path, header, config, llama.library, daemon.status)
    yield from judge_memory(read_memory(config, header, daemon.status), plan)
    yield from judge_daemon(daemon)
    yield from judge_paths(read_paths())


def _settings() -> tuple[Config, str, str]:
    """Returns the settings, the source of the model's name, and the config file's problem."""
    try:
        settings = load_settings()
    except BadInput as error:
        return Config(), "default", str(error)
    return settings.config, settings.sources.get("model", "default"), ""
