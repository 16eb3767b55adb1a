"""Implements the commands that need no answer of the daemon. Imports as little as possible, since
`llmd lsp` starts with this module: each function imports what it needs."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmd import paths
from llmd.bridge import daemon_client
from llmd.errors import DaemonError
from llmd.files import fingerprint
from llmd.processes import protect_memory

if TYPE_CHECKING:
    from collections.abc import Callable

FOLLOW_S = 0.2


def serve(args: argparse.Namespace) -> int:
    from llmd.daemon import daemon

    return daemon.serve(args.set, is_detached=args.detached)


def logs(args: argparse.Namespace) -> None:
    path = paths.log_path()
    try:
        log = path.open(errors="replace")
    except OSError as error:
        raise DaemonError(
            f"Log `{path}` cannot be read: {error.strerror}; run `llmd start` to create it"
        ) from None
    print(log.read(), end="", flush=True)
    while args.follow:
        time.sleep(FOLLOW_S)
        print(log.read(), end="", flush=True)
        current = fingerprint(path)
        if current and current.inode != os.fstat(log.fileno()).st_ino:  # rotated
            log = path.open(errors="replace")


def eval(args: argparse.Namespace) -> None:
    from llmd.cli.eval.command import evaluate

    evaluate(args)


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
    place = places[args.what]()
    if args.what == "socket" and os.path.lexists(place.parent):
        paths.private_dir(place.parent)  # editors trust whoever listens in it
    print(place)


def purge(args: argparse.Namespace) -> int:
    from llmd.cli import purge as job

    found = job.inventory()
    if found.left or found.owned:
        print(job.listing(found))
    if not found.owned:
        print("There are no files of llmd on this machine")
        return 0
    if not (args.yes or _agrees("Remove all of this?")):
        print("Nothing was removed")
        return 1
    if daemon_client.is_running():
        daemon_client.stop_daemon(is_restart=False)
    job.remove(job.inventory())  # again: the daemon's end writes and removes files
    return 0


def _agrees(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # no terminal
        print()
        return False


def lsp(_: argparse.Namespace) -> int:
    from llmd.bridge.bridge import Bridge

    protect_memory()
    client = daemon_client
    return Bridge(client.ensure_daemon, client.connect, client.was_stopped).run()


def demo(_: argparse.Namespace) -> int:
    from llmd.cli.demo import run

    return run()
