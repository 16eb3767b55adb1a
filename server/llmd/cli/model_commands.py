"""Runs `llmd pull`, `models`, `use` and `config from-flags`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmd import machine, paths
from llmd.bridge import daemon_client
from llmd.config import Config
from llmd.errors import BadInput, DaemonError, ModelError, printable
from llmd.models import resolve
from llmd.models.catalog import catalog
from llmd.models.hub_reference import HUB_PREFIX
from llmd.models.recommend import HostResources
from llmd.transport.status_types import Status, decode_answer

WAIT_S = 0.1


def pull(args: argparse.Namespace) -> int:
    name = args.model or _propose_model(args.yes)
    if not name:
        print("Nothing was pulled", file=sys.stderr)
        return 1
    from llmd.cli.progress import pull_with_progress

    print(pull_with_progress(name))
    return 0


def models(args: argparse.Namespace) -> int:
    action, *names = args.words or [""]
    if action == "rm":
        return _remove(names)
    if action == "verify":
        return _verify(names)
    if names:
        raise BadInput("Command `models` expects one name, or rm or verify before several names")
    print(_table(action, args.json))
    return 0


def use(args: argparse.Namespace) -> None:
    """Sets the model in the config and switches to the model while editors stay connected.

    Raises:
        BadInput: the model is not on this machine, or the daemon does not use the config file.
        DaemonError: the model cannot be loaded; the config is restored.
    """
    from llmd.config.load import read_text, restore_text, set_key

    value, config = _config_value(args.model), paths.config_path()
    before = read_text(config)
    set_key(config, "model", value)
    changed = read_text(config)
    daemon = daemon_client.DaemonClient(daemon_client.ensure_daemon())
    daemon.request("llmd/use", {})
    status = wait_until_loaded(daemon)
    if status.config.problem:
        raise BadInput(status.config.problem)
    if "failed" in (status.state, status.switch.state):
        restore_text(config, changed, before)
        reason = status.switch.reason or status.reason
        raise DaemonError(f"{reason}; the config names the previous model again")
    _check_effective(daemon, value)
    print_loaded(status)


def print_loaded(status: Status) -> None:
    """Prints the model that is loaded, and the daemon's notice if there is one."""
    lines = [f"{status.model.name} ({status.model.quantisation}) is loaded", status.notice]
    print("\n".join(map(printable, filter(None, lines))))


def config_from_flags(line: Sequence[str], is_written: bool) -> None:
    """Prints the settings of a llama.cpp command line, and if `is_written` saves the settings.

    Skipped flags and warnings go to standard error.

    Raises:
        BadInput: there is no line.
    """
    from llmd.cli.llama_cpp_flags import as_toml, from_flags
    from llmd.config.load import set_key

    if not line:
        raise BadInput("Command `config from-flags` expects llama.cpp's command line after `--`")
    parsed = from_flags(line)
    settings = {**parsed.settings}
    model = settings.get("model", "")
    if model and not model.startswith(HUB_PREFIX) and model not in catalog():
        settings["model"] = str(Path(model).expanduser().absolute())
    print(as_toml(settings), end="")
    for reason in parsed.skipped:
        print(f"left out: {printable(reason)}", file=sys.stderr)
    for warning in _warnings(settings):
        print(f"warning: {printable(warning)}", file=sys.stderr)
    if is_written:
        for key, value in settings.items():
            set_key(paths.config_path(), key, value)


def _warnings(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yields a warning for each setting that does not suit this machine."""
    if model := settings.get("model"):
        try:
            resolve.model_path(model)
        except ModelError as error:
            yield str(error)
    n_threads, n_cores = settings.get("engine.threads", 0), machine.n_cores()
    if n_threads > n_cores:
        cores = f"{n_cores} core{'s' if n_cores > 1 else ''}"
        text = f"Setting `engine.threads` is {n_threads}, but this machine has {cores}"
        yield f"{text}; set at most {n_cores}, or leave `auto`"


def _config_value(name: str) -> str:
    """Returns the value of `model` in the config: the name itself, or an absolute path.

    Raises:
        BadInput: the model is not on this machine, or the file is not a model.
    """
    from llmd.models.gguf.validate import check_model

    resolve.pull_source(name)  # explains an unknown name better than `resolve_model`
    try:
        path = resolve.resolve_model(name).path
        check_model(path)
    except ModelError as error:  # in this command the name is input of the user
        raise BadInput(str(error)) from None
    is_name = Path(name) != path and not Path(name).exists()
    return name if is_name else str(path.absolute())


def wait_until_loaded(daemon: daemon_client.DaemonClient) -> Status:
    """Returns the status when no model is being loaded any more."""
    while True:
        status = decode_answer(daemon.request("llmd/status", {}), Status)
        if "loading" not in (status.state, status.switch.state):
            return status
        time.sleep(WAIT_S)


def _check_effective(daemon: daemon_client.DaemonClient, value: str) -> None:
    """Checks that the daemon uses the value in the config file.

    Raises:
        BadInput: the environment or a flag of the daemon overrides the file.
    """
    from llmd.config.load import SettingsReport

    rows = decode_answer(daemon.request("llmd/config", {}), SettingsReport).rows
    (row,) = (row for row in rows if row.key == "model")
    if row.source != "file" or row.value != value:
        raise BadInput(
            f"The model is set in `{paths.config_path()}`, but the running daemon takes"
            f" `{row.value}` from its {row.source}; run `llmd restart --daemon` in this shell"
        )


def _propose_model(is_agreed: bool) -> str:
    """Returns the best model for this machine once the user agrees, else an empty text."""
    from llmd.cli.models_text import proposal
    from llmd.models.listing import build_row
    from llmd.models.recommend import best_model

    room, config = _host_resources(), _config()
    best = best_model([*catalog().values()], room, config.engine)
    name = resolve.BUILTIN
    text = "the built-in model, since no larger model is fast enough on this machine"
    if best:
        row = build_row(*best[:2], room, config.engine)
        name, text = row.name, f"{proposal(row)}: {best[2]}"
    print(f"For this machine: {text}", file=sys.stderr)
    if is_agreed:
        return name
    print("Pull it? [Y/n] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()  # empty at the end of the input: no user can answer
    return name if answer and answer.strip().lower() in ("", "y", "yes") else ""


def _table(name: str, as_json: bool) -> str:
    from llmd.cli import models_text
    from llmd.models.listing import build_row, find_entry, installed_rows, pullable_rows
    from llmd.models.recommend import best_quantisation

    entry = find_entry(name) if name else None
    room, config = _host_resources(), _config()
    if entry:
        rows = [build_row(entry, variant, room, config.engine) for variant in entry.variants]
        if not as_json:
            best, why = best_quantisation(entry, room, config.engine)
            return models_text.one_model(rows, build_row(entry, best, room, config.engine, why))
    else:
        installed = installed_rows(room, config.engine)
        pullable = pullable_rows(room, config.engine)
        if not as_json:
            return models_text.overview(installed, pullable, str(_path_in_use(config)))
        rows = [*installed, *pullable]
    return json.dumps([models_text.row_as_json(row) for row in rows])


def _remove(names: list[str]) -> int:
    from llmd.models.remove_verify import remove

    if not names:
        raise BadInput("Command `models rm` expects names of models; `llmd models` lists them")
    in_use = _path_in_use(_config())
    for name in names:
        n_bytes, removed = remove(name, in_use)
        for path in removed:
            print(printable(str(path)))
        print(f"{printable(name)}: {n_bytes / 1e6:,.0f} MB freed", file=sys.stderr)
    return 0


def _path_in_use(config: Config) -> Path | None:
    try:
        return resolve.model_path(config.model)
    except ModelError:
        return None


def _verify(names: list[str]) -> int:
    """Returns 1 if a model has other content than when the model was pulled."""
    from llmd.cli.models_text import shown_name
    from llmd.models.listing import installed_models
    from llmd.models.remove_verify import find_installed, verify

    n_wrong, installed = 0, [find_installed(name) for name in names] or installed_models()
    if not installed:
        print("There is no model on this machine", file=sys.stderr)
    for model in installed:
        problem = model.problem or verify(model)
        n_wrong += problem not in ("", "unknown")
        texts = {"": "is unchanged since the pull", "unknown": "has no known hash"}
        advice = "; run `llmd models rm` and then `llmd pull` with this name"
        verdict = texts.get(problem) or problem + advice
        print(printable(f"{shown_name(model.name)}: {verdict}"))
    return 1 if n_wrong else 0


def _host_resources() -> HostResources:
    from llmd.models.bandwidth import host_resources
    from llmd.worker.loader import describe_machine  # takes as long to import as all the rest

    return host_resources(describe_machine())


def _config() -> Config:
    from llmd.config.load import load_settings

    return load_settings().config
