"""Implements the commands that start, stop and query the daemon."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import msgspec

from llmd.bridge.daemon_client import (
    DaemonClient,
    connect,
    connect_running,
    ensure_daemon,
    stop_daemon,
)
from llmd.cli import status_text
from llmd.completion.trace import RequestStages
from llmd.errors import BadInput, DaemonError, printable
from llmd.transport.status_types import Completion, Status, decode_answer


def start(_: argparse.Namespace) -> None:
    """Fails where a daemon runs but does not answer."""
    daemon = DaemonClient(ensure_daemon())
    status = decode_answer(daemon.request("llmd/status", {}), Status)
    if status.state == "failed":
        print(f"llmd: The daemon runs without a model: {printable(status.reason)}", file=sys.stderr)


def stop(_: argparse.Namespace) -> None:
    stop_daemon(is_restart=False)


def restart(args: argparse.Namespace) -> None:
    """Prints the model that is loaded.

    Raises:
        BadInput: the config file is invalid.
        DaemonError: the model cannot be loaded; the previous model may stay in use.
    """
    from llmd.cli.model_commands import print_loaded, wait_until_loaded

    if args.daemon:
        from llmd.config.load import load_settings

        load_settings()  # an invalid config must not end the running daemon
        stop_daemon(is_restart=True)
        daemon = DaemonClient(ensure_daemon())
    else:
        daemon = connect_running()
        daemon.request("llmd/restart", {})
    status = wait_until_loaded(daemon)
    if status.config.problem:
        raise BadInput(status.config.problem)
    if status.state == "failed":
        raise DaemonError(status.reason)
    if status.switch.state == "failed":
        raise DaemonError(status.notice)
    print_loaded(status)


def status(args: argparse.Namespace) -> None:
    answer = connect_running().request("llmd/status", {})
    text = status_text.plan_text if args.plan else status_text.status_text
    print(json.dumps(answer) if args.json else text(decode_answer(answer, Status)))


def why(args: argparse.Namespace) -> None:
    uri = Path(args.file).absolute().as_uri() if args.file else ""
    answer = connect_running().request("llmd/why", {"uri": uri})
    if answer is None:
        raise BadInput(
            f"No request for `{args.file}` is known; the daemon keeps one for each recent file"
            if args.file
            else "No completion was requested yet"
        )
    text = status_text.why_text
    print(json.dumps(answer) if args.json else text(decode_answer(answer, RequestStages)))


def complete(args: argparse.Namespace) -> None:
    from llmd.cli.location import place_params

    params = place_params(args.place, _max_file_bytes())
    daemon = DaemonClient(ensure_daemon())
    answer = daemon.request("llmd/complete", msgspec.to_builtins(params), timeout_s=60)
    if args.json:
        print(json.dumps(answer))
        return
    completion = decode_answer(answer, Completion)
    print(completion.text)
    if completion.trace.path in ("failed", "suppressed", "late"):
        raise DaemonError(f"No completion: {completion.trace.reason or 'late'}")


def _max_file_bytes() -> int:
    """Returns the default for an invalid config, since a running daemon keeps its old settings."""
    from llmd.config import Config
    from llmd.config.load import load_settings

    try:
        return load_settings().config.context.max_file_bytes
    except BadInput:
        return Config().context.max_file_bytes


def config(args: argparse.Namespace) -> None:
    """Shows the running daemon's settings, or else those that a daemon would start with."""
    if args.action:
        from llmd.cli.model_commands import config_from_flags

        config_from_flags(args.line, is_written=args.write)
        return
    from llmd.config.load import SettingsReport, load_settings, report_settings

    if peer := connect():
        answer = DaemonClient(peer).request("llmd/config", {})
    else:
        answer = msgspec.to_builtins(report_settings(load_settings()))
    if args.json:
        print(json.dumps(answer))
        return
    settings = decode_answer(answer, SettingsReport)
    print(f"# {printable(settings.path)}")
    rows = [(row.key, f"{json.dumps(row.value)}  ({row.source})") for row in settings.rows]
    print(status_text.table(rows))
