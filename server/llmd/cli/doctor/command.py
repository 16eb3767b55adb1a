"""`llmd doctor`: looks at everything at once, and says what it found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from llmd import paths
from llmd.cli.doctor import read_daemon, read_editors, read_engine
from llmd.cli.doctor.build import of_build
from llmd.cli.doctor.daemon import of_daemon, of_places
from llmd.cli.doctor.editors import of_command, of_editors
from llmd.cli.doctor.finding import Finding, as_object, as_text, n_problems
from llmd.cli.doctor.memory import of_memory
from llmd.cli.doctor.model import of_config, of_model
from llmd.cli.doctor.running_neovim import live_of, of_fault, of_live
from llmd.cli.doctor.subprocess_json import ask
from llmd.config import Config
from llmd.config.load import load_settings
from llmd.errors import BadInput

_NEOVIM_TIMEOUT_S = 2.0


def doctor(as_json: bool) -> int:
    """Returns 1 where there is a problem."""
    with ThreadPoolExecutor() as pool:
        neovim, editors = pool.submit(_of_this_neovim), pool.submit(_of_editors)
        findings = [*_of_engine_and_daemon(pool), *editors.result(), *neovim.result()]
    print(json.dumps(as_object(findings)) if as_json else as_text(findings))
    return 1 if n_problems(findings) else 0


def _of_engine_and_daemon(pool: ThreadPoolExecutor) -> Iterator[Finding]:
    daemon = pool.submit(read_daemon.daemon)
    config, source, problem = _settings()
    model, header = read_engine.model_of(config, source)
    said, fault = read_engine.probed(model.path)
    model = read_engine.with_vocabulary(model, said, fault)
    yield from of_build(read_engine.build_of(said, fault), read_engine.hardware())
    yield of_config(str(paths.config_path()), paths.config_path().exists(), problem)
    yield from of_model(model)
    found = daemon.result()
    plan = read_engine.plan_of(model, header, config, said, found.status)
    yield from of_memory(read_engine.memory_of(config, header, found.status), plan)
    yield from of_daemon(found)
    yield from of_places(read_daemon.places())


def _settings() -> tuple[Config, str, str]:
    """The settings, where the model's name comes from, and what is wrong with the file."""
    try:
        settings = load_settings()
    except BadInput as error:
        return Config(), "default", str(error)
    return settings.config, settings.sources.get("model", "default"), ""


def _of_editors() -> list[Finding]:
    return [of_command(read_editors.command()), *of_editors(read_editors.editors())]


def _of_this_neovim() -> list[Finding]:
    address = os.environ.get("NVIM")
    if not address:
        return []
    said, fault = ask("llmd.cli.doctor.neovim", [address], _NEOVIM_TIMEOUT_S)
    return list(of_live(live_of(said[0]))) if said else [of_fault(fault or "it said nothing")]
