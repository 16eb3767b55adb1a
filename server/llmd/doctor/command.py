"""`llmd doctor`: looks at everything at once, and says what it found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from llmd import paths
from llmd.config import Config
from llmd.doctor import look_daemon, look_editors, look_engine
from llmd.doctor.build import of_build
from llmd.doctor.child import ask
from llmd.doctor.daemon import of_daemon, of_places
from llmd.doctor.editors import of_command, of_editors
from llmd.doctor.finding import Finding, as_object, as_text, n_problems
from llmd.doctor.live import live_of, of_fault, of_live
from llmd.doctor.memory import of_memory
from llmd.doctor.model import of_config, of_model
from llmd.errors import BadInput
from llmd.settings import load_settings

_NEOVIM_TIMEOUT_S = 2.0


def doctor(as_json: bool) -> int:
    """Returns 1 where there is a problem."""
    with ThreadPoolExecutor() as pool:
        neovim, editors = pool.submit(_of_this_neovim), pool.submit(_of_editors)
        findings = [*_of_engine_and_daemon(pool), *editors.result(), *neovim.result()]
    print(json.dumps(as_object(findings)) if as_json else as_text(findings))
    return 1 if n_problems(findings) else 0


def _of_engine_and_daemon(pool: ThreadPoolExecutor) -> Iterator[Finding]:
    daemon = pool.submit(look_daemon.daemon)
    config, source, problem = _settings()
    model, header = look_engine.model_of(config, source)
    said, fault = look_engine.probed(model.path)
    model = look_engine.with_vocabulary(model, said, fault)
    yield from of_build(look_engine.build_of(said, fault), look_engine.hardware())
    yield of_config(str(paths.config_path()), paths.config_path().exists(), problem)
    yield from of_model(model)
    found = daemon.result()
    plan = look_engine.plan_of(model, header, config, said, found.status)
    yield from of_memory(look_engine.memory_of(config, header, found.status), plan)
    yield from of_daemon(found)
    yield from of_places(look_daemon.places())


def _settings() -> tuple[Config, str, str]:
    """The settings, where the model's name comes from, and what is wrong with the file."""
    try:
        settings = load_settings()
    except BadInput as error:
        return Config(), "default", str(error)
    return settings.config, settings.sources.get("model", "default"), ""


def _of_editors() -> list[Finding]:
    return [of_command(look_editors.command()), *of_editors(look_editors.editors())]


def _of_this_neovim() -> list[Finding]:
    address = os.environ.get("NVIM")
    if not address:
        return []
    said, fault = ask("llmd.doctor.neovim", [address], _NEOVIM_TIMEOUT_S)
    return list(of_live(live_of(said[0]))) if said else [of_fault(fault or "it said nothing")]
