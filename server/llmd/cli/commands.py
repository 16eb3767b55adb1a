"""What each command does: a function of the command's name. Imports what it needs when it runs."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from llmd import paths
from llmd.bridge import daemon_client
from llmd.cli import status_text
from llmd.errors import BadInput, DaemonError

if TYPE_CHECKING:
    from collections.abc import Callable

STOP_TIMEOUT_S = 5.0
POLL_S = 0.02
FOLLOW_S = 0.2


def serve(args: argparse.Namespace) -> int:
    from llmd.daemon import daemon

    return daemon.serve(args.set, is_detached=args.detached)


def start(_: argparse.Namespace) -> None:
    """A daemon that runs but does not answer is no success."""
    found = daemon_client.DaemonClient(daemon_client.ensure_daemon()).request("llmd/status", {})
    if found["state"] == "failed":
        print(f"llmd: The daemon runs without a model: {found['reason']}", file=sys.stderr)


def stop(_: argparse.Namespace) -> None:
    _stop_daemon(is_restart=False)


def restart(args: argparse.Namespace) -> None:
    if args.daemon:
        from llmd.config.load import load_settings

        load_settings()  # a config that stops the start must not end the daemon that runs
        _stop_daemon(is_restart=True)
        daemon = daemon_client.DaemonClient(daemon_client.ensure_daemon())
    else:
        daemon = _daemon()
        daemon.request("llmd/restart", {})
    print(_wait_for_model(daemon))


def status(args: argparse.Namespace) -> None:
    found = _daemon().request("llmd/status", {})
    text = status_text.plan_text if args.plan else status_text.status_text
    print(json.dumps(found) if args.json else text(found))


def why(args: argparse.Namespace) -> None:
    uri = Path(args.file).absolute().as_uri() if args.file else ""
    found = _daemon().request("llmd/why", {"uri": uri})
    if found is None:
        raise BadInput(
            f"No request of `{args.file}` is known; it keeps the last of each of the latest files"
            if args.file
            else "Nobody has asked for a completion yet"
        )
    print(json.dumps(found) if args.json else status_text.why_text(found))


def logs(args: argparse.Namespace) -> None:
    path = paths.log_path()
    try:
        log = path.open(errors="replace")
    except OSError as error:
        raise DaemonError(
            f"Log `{path}` cannot be read: {error.strerror}; `llmd start` begins one"
        ) from None
    print(log.read(), end="", flush=True)
    while args.follow:
        time.sleep(FOLLOW_S)
        print(log.read(), end="", flush=True)
        if _inode(path) not in (None, os.fstat(log.fileno()).st_ino):  # rotated
            log = path.open(errors="replace")


def complete(args: argparse.Namespace) -> None:
    from llmd.cli.location import place_params

    params = place_params(args.place, _max_file_bytes())
    daemon = daemon_client.DaemonClient(daemon_client.ensure_daemon())
    answer = daemon.request("llmd/complete", params, timeout_s=60)
    print(json.dumps(answer) if args.json else answer["text"])
    if answer["trace"]["path"] in ("failed", "suppressed", "late") and not args.json:
        raise DaemonError(f"No completion: {answer['trace']['reason'] or 'late'}")


def _max_file_bytes() -> int:
    """A config that turned bad is no reason to refuse while the daemon serves with the old one."""
    from llmd.config import Config
    from llmd.config.load import load_settings

    try:
        return load_settings().config.context.max_file_bytes
    except BadInput:
        return Config().context.max_file_bytes


def eval(args: argparse.Namespace) -> None:
    from llmd.cli.eval.command import evaluate

    evaluate(args)


def bench(args: argparse.Namespace) -> None:
    from llmd.cli.bench.command import bench as run

    run(args)


def pull(args: argparse.Namespace) -> int:
    from llmd.cli import model_commands

    return model_commands.pull(args)


def models(args: argparse.Namespace) -> int:
    from llmd.cli import model_commands

    return model_commands.models(args)


def use(args: argparse.Namespace) -> None:
    from llmd.cli import model_commands

    model_commands.use(args)


def config(args: argparse.Namespace) -> None:
    """The running daemon's settings, else those that one would start with."""
    if args.action:
        from llmd.cli import model_commands

        model_commands.config_from_flags(args.line, is_written=args.write)
        return
    if peer := daemon_client.connect():
        found = daemon_client.DaemonClient(peer).request("llmd/config", {})
    else:
        from llmd.config.load import as_object, load_settings

        found = as_object(load_settings())
    if args.json:
        print(json.dumps(found))
        return
    print(f"# {found['path']}")
    rows = [(row["key"], f"{json.dumps(row['value'])}  ({row['source']})") for row in found["rows"]]
    print(status_text.table(rows))


def path(args: argparse.Namespace) -> None:
    places: dict[str, Callable[[], Path]] = {
        "socket": paths.socket_path,
        "models": paths.models_dir,
        "config": paths.config_path,
        "log": paths.log_path,
        "state": paths.state_dir,
        "plugin-nvim": lambda: paths.plugin_dir("nvim"),
        "plugin-vim": lambda: paths.plugin_dir("vim"),
    }
    print(places[args.what]())


def doctor(args: argparse.Namespace) -> int:
    from llmd.cli.doctor.command import doctor as run

    return run(args.json)


def purge(args: argparse.Namespace) -> int:
    from llmd.cli import purge as job

    found = job.owned_paths()
    if not found:
        print("llmd keeps nothing on this machine")
        return 0
    for place in found:
        print(f"{place.n_bytes / (1 << 20):8.1f} MiB  {place.path}")
    if not (args.yes or _agrees("Remove all of this?")):
        print("Nothing was removed")
        return 1
    if daemon_client.is_running():
        _stop_daemon(is_restart=False)
    job.remove(job.owned_paths())
    return 0


def _agrees(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to ask
        print()
        return False


def lsp(_: argparse.Namespace) -> int:
    from llmd.bridge import bridge

    return bridge.run(daemon_client.ensure_daemon, daemon_client.connect, daemon_client.was_stopped)


def demo(_: argparse.Namespace) -> int:
    from llmd.cli.demo import run

    return run()


def _daemon() -> daemon_client.DaemonClient:
    if peer := daemon_client.connect():
        return daemon_client.DaemonClient(peer)
    raise DaemonError("No daemon runs; `llmd start` starts one")


def _stop_daemon(is_restart: bool) -> None:
    """Returns when it has gone. One that does not answer is killed."""
    pid = daemon_client.lock_contents().get("pid")
    try:
        _daemon().request("llmd/stop", {"restart": is_restart})
    except DaemonError:
        if not (daemon_client.is_running() and isinstance(pid, int)):
            raise
        _kill(pid, is_restart)
    end_s = time.monotonic() + STOP_TIMEOUT_S
    # A bridge may start the next one at once: then the lock is held again, by another pid.
    while daemon_client.is_running() and daemon_client.lock_contents().get("pid") == pid:
        if time.monotonic() > end_s:
            raise DaemonError(f"The daemon, pid {pid}, does not stop; `kill -9 {pid}` ends it")
        time.sleep(POLL_S)


def _kill(pid: int, is_restart: bool) -> None:
    if not is_restart:
        daemon_client.mark_stopped()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    print(f"llmd: the daemon, pid {pid}, did not answer and was killed", file=sys.stderr)


def _wait_for_model(daemon: daemon_client.DaemonClient) -> str:
    """Returns one line about the model that is loaded now.

    Raises:
        DaemonError: it can't be loaded; the one before may go on.
    """
    from llmd.cli.model_commands import wait_until_loaded

    found = wait_until_loaded(daemon)
    if problem := found["config"]["problem"]:
        raise BadInput(problem)
    if found["state"] == "failed":
        raise DaemonError(found["reason"])
    if found["switch"]["state"] == "failed":
        raise DaemonError(found["notice"])
    model = found["model"]
    notice = f"\n{found['notice']}" if found["notice"] else ""
    return f"{model['name']} ({model['quantisation']}) is loaded{notice}"


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
