"""`llmd pull`, `models`, `use` and `config from-flags`: what each does."""

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
from llmd.models.recommend import HostResources
from llmd.models.references import HUB_PREFIX

WAIT_S = 0.1
_ACTIONS = ("rm", "verify")


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
        raise BadInput(f"Command `models` takes one name, or one of {', '.join(_ACTIONS)} first")
    print(_table(action, args.json))
    return 0


def use(args: argparse.Namespace) -> None:
    """Switches while editors stay connected. Where the model can't be loaded, the one before goes
    on, and the config says so again."""
    from llmd.config.load import set_key, take_back, text_of

    value, config = _config_value(args.model), paths.config_path()
    before = text_of(config)
    set_key(config, "model", value)
    changed = text_of(config)
    daemon = daemon_client.DaemonClient(daemon_client.ensure_daemon())
    daemon.request("llmd/use", {})
    found = wait_until_loaded(daemon)
    if problem := found["config"]["problem"]:
        raise BadInput(problem)
    if "failed" in (found["state"], found["switch"]["state"]):
        take_back(config, changed, before)
        reason = found["switch"]["reason"] or found["reason"]
        raise DaemonError(f"{reason}; the config names again what it named before")
    _check_effective(daemon, value)
    model, notice = found["model"], found["notice"]
    loaded = f"{model['name']} ({model['quantisation']}) is loaded"
    print(f"{loaded}\n{notice}" if notice else loaded)


def config_from_flags(line: Sequence[str], is_written: bool) -> None:
    """Prints the settings, and writes them into the config if `is_written`. Flags that set nothing,
    and settings that do not suit this machine, go to standard error.

    Raises:
        BadInput: there is no line.
    """
    from llmd.cli.llama_flags import as_toml, from_flags
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
    """Yields what in `settings` does not suit this machine."""
    if model := settings.get("model"):
        try:
            resolve.model_path(model)
        except ModelError as error:
            yield str(error)
    n_threads, n_cores = settings.get("engine.threads", 0), machine.n_cores()
    if n_threads > n_cores:
        cores = f"{n_cores} core{'s' if n_cores > 1 else ''}"
        yield (
            f"Setting `engine.threads` is {n_threads}, but this machine has {cores};"
            f" set at most {n_cores}, or leave `auto`"
        )


def _config_value(name: str) -> str:
    """What the config is to say.

    Raises:
        BadInput: it is no model that is here.
    """
    from llmd.models.gguf.header import check_model

    resolve.pull_source(name)  # of a name that stands for nothing it says more
    try:
        path = resolve.resolve_model(name).path
        check_model(path)
    except ModelError as error:  # here it is what the user typed
        raise BadInput(str(error)) from None
    is_name = Path(name) != path and not Path(name).exists()
    return name if is_name else str(path.absolute())


def wait_until_loaded(daemon: daemon_client.DaemonClient) -> dict[str, Any]:
    """The status once nothing is being loaded any more."""
    while True:
        found: dict[str, Any] = daemon.request("llmd/status", {})
        if "loading" not in (found["state"], found["switch"]["state"]):
            return found
        time.sleep(WAIT_S)


def _check_effective(daemon: daemon_client.DaemonClient, value: str) -> None:
    """
    Raises:
        BadInput: the daemon takes its model from elsewhere than the file.
    """
    rows = daemon.request("llmd/config", {})["rows"]
    (row,) = (row for row in rows if row["key"] == "model")
    if row["source"] != "file" or row["value"] != value:
        raise BadInput(
            f"The model is set in `{paths.config_path()}`, but the running daemon takes"
            f" `{row['value']}` from its {row['source']}; `llmd restart --daemon` from this shell"
        )


def _propose_model(is_agreed: bool) -> str:
    """What is best for this machine, once the user agrees."""
    from llmd.cli.models_text import proposal
    from llmd.models.installed import build_row
    from llmd.models.recommend import best_model

    room, config = _host_resources(), _config()
    best = best_model([*catalog().values()], room, config.engine)
    if best is None:
        name, said = resolve.BUILTIN, "the built-in model, since no larger one is fast enough here"
    else:
        line = build_row(*best[:2], room, config.engine)
        name, said = line.name, f"{proposal(line)}: {best[2]}"
    print(f"For this machine: {said}", file=sys.stderr)
    if is_agreed:
        return name
    print("Pull it? [Y/n] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()  # empty: nobody is there to ask
    return name if answer and answer.strip().lower() in ("", "y", "yes") else ""


def _table(name: str, as_json: bool) -> str:
    from llmd.cli import models_text
    from llmd.models.installed import build_row, find_entry, installed_rows, pullable_rows
    from llmd.models.recommend import best_quantisation

    entry = find_entry(name) if name else None
    room, config = _host_resources(), _config()
    if entry:
        best, why = best_quantisation(entry, room, config.engine)
        lines = [build_row(entry, variant, room, config.engine) for variant in entry.variants]
        taken = build_row(entry, best, room, config.engine, why)
        if as_json:
            return json.dumps([models_text.row_as_json(line) for line in lines])
        return models_text.one_model(lines, taken)
    local, remote = installed_rows(room, config.engine), pullable_rows(room, config.engine)
    if as_json:
        return json.dumps([models_text.row_as_json(line) for line in (*local, *remote)])
    return models_text.overview(local, remote, str(_path_in_use(config)))


def _remove(names: list[str]) -> int:
    from llmd.models.maintenance import remove

    if not names:
        raise BadInput("Command `models rm` takes the names of models; `llmd models` shows them")
    in_use = _path_in_use(_config())
    for name in names:
        n_bytes, gone = remove(name, in_use)
        for path in gone:
            print(path)
        print(f"{name}: {n_bytes / 1e6:,.0f} MB are free again", file=sys.stderr)
    return 0


def _path_in_use(config: Config) -> Path | None:
    try:
        return resolve.model_path(config.model)
    except ModelError:
        return None


def _verify(names: list[str]) -> int:
    """Fails where one is not what was pulled."""
    from llmd.cli.models_text import shown_name
    from llmd.models.installed import installed_models
    from llmd.models.maintenance import find_installed, verify

    wrong, found = 0, [find_installed(name) for name in names] or installed_models()
    if not found:
        print("There is no model on this machine", file=sys.stderr)
    for each in found:
        said = each.problem or verify(each)
        wrong += said not in ("", "unknown")
        words = {"": "is what was pulled", "unknown": "has no known hash"}
        advice = "; run `llmd models rm`, then `llmd pull`, with its name"
        print(f"{shown_name(each.name)}: {words.get(said) or said + advice}")
    return 1 if wrong else 0


def _host_resources() -> HostResources:
    from llmd.models.bandwidth import host_resources
    from llmd.worker.loader import describe_machine  # takes as long to import as all else here

    return host_resources(describe_machine())


def _config() -> Config:
    from llmd.config.load import load_settings

    return load_settings().config
