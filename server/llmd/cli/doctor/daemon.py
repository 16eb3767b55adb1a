"""Checks the daemon, its socket, and the folders and files of both. Starts and makes nothing."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from llmd import __version__, machine, paths
from llmd.bridge import daemon_client
from llmd.cli.doctor.finding import Finding, Level
from llmd.errors import LlmdError
from llmd.transport.status_types import Status, decode_answer

_ANSWER_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    """Describes the daemon and how this shell reaches it.

    `problem`: why there is no `status`. `socket`: where this shell expects the socket;
    `found_at`: where the lock says that the socket is.
    """

    own_version: str
    socket: str
    is_running: bool = False
    found_at: str = ""
    problem: str = ""
    status: Status | None = None
    is_in_background: bool = False  # on a Mac's efficiency cores alone


@dataclass(frozen=True, slots=True)
class PathFacts:
    """Describes a folder or file as `lstat` reports it. `mode`: None where nothing exists, which is
    fine. `is_private`: no other user may enter it. `is_writable`: by this user."""

    what: str
    path: str
    mode: int | None = None
    is_ours: bool = True
    is_private: bool = True
    is_writable: bool = True
    is_folder: bool = True


def read_daemon() -> DaemonFacts:
    try:
        socket = str(paths.socket_path())
    except LlmdError as error:
        return DaemonFacts(__version__, "", problem=str(error))
    is_running = daemon_client.is_running()
    found_at = str(daemon_client.lock_contents().get("socket", "")) if is_running else ""
    facts = DaemonFacts(__version__, socket, is_running, found_at)
    try:
        peer = daemon_client.connect()
        if peer is None:
            return facts
        with peer:
            client = daemon_client.DaemonClient(peer)
            answer = client.request("llmd/status", {}, timeout_s=_ANSWER_TIMEOUT_S)
            status = decode_answer(answer, Status)
            in_background = machine.is_in_background(status.pid)
            return replace(facts, status=status, is_in_background=in_background)
    except LlmdError as error:
        return replace(facts, problem=str(error))


def read_paths() -> list[PathFacts]:
    """Reads the private folders and files first, then those that only have to be writable."""
    wanted: list[tuple[str, Callable[[], Path], bool, bool]] = [
        ("state folder", paths.state_dir, True, True),
        ("socket's folder", paths.runtime_dir, True, True),
        ("socket", paths.socket_path, False, True),
        ("lock", paths.lock_path, False, True),
        ("log", paths.log_path, False, True),
        ("models' folder", paths.models_dir, True, False),
        ("config", paths.config_path, False, False),
    ]
    facts = []
    for what, path, is_folder, is_private in wanted:
        with suppress(LlmdError):  # a socket path that is too long is reported with the daemon
            facts.append(_read_path(what, path(), is_folder, is_private))
    return facts


def _read_path(what: str, path: Path, is_folder: bool, is_private: bool) -> PathFacts:
    facts = PathFacts(what, str(path), is_folder=is_folder, is_private=is_private)
    try:
        status = path.lstat()
    except OSError:
        return facts
    is_ours, is_writable = status.st_uid == os.getuid(), os.access(path, os.W_OK)
    return replace(facts, mode=status.st_mode, is_ours=is_ours, is_writable=is_writable)


def judge_daemon(daemon: DaemonFacts) -> Iterator[Finding]:
    if daemon.problem:
        fix = "`llmd stop`, then `llmd start`; `llmd logs` has more"
        yield Finding("daemon", "problem", daemon.problem, fix)
    elif daemon.status:
        yield from _judge_status(daemon, daemon.status)
    elif daemon.is_running:
        text = f"A daemon runs, but its socket `{daemon.found_at or daemon.socket}` does not exist"
        yield Finding("daemon", "problem", text, "`llmd stop`, then `llmd start`")
    else:
        yield Finding("daemon", "ok", "No daemon runs; the first editor starts one")


def _judge_status(daemon: DaemonFacts, status: Status) -> Iterator[Finding]:
    if status.version != daemon.own_version:
        text = f"The daemon is llmd {status.version}, this command is {daemon.own_version}"
        fix = "`llmd restart --daemon`, then restart the open editors"
        yield Finding("daemon", "problem", text, fix)
    if daemon.found_at and daemon.found_at != daemon.socket:
        text = f"The daemon's socket is `{daemon.found_at}`, this shell expects another path"
        fix = "if completions fail, set XDG_RUNTIME_DIR as for the daemon, or link"
        yield Finding("daemon", "note", text, f"{fix} `{daemon.socket}`")
    if daemon.is_in_background:
        text, _, fix = machine.IN_BACKGROUND.partition("; ")
        yield Finding("daemon", "note", text, fix)
    yield _judge_state(status)
    if problem := status.config.problem:
        fix = "correct the file; the old settings stay in effect"
        yield Finding("daemon", "problem", problem, fix)
    for client in status.clients:
        yield Finding("daemon", "ok", f"Connected: {client.editor or client.name}")


def _judge_state(status: Status) -> Finding:
    text = f"The daemon, pid {status.pid}, is {status.state}"
    if status.state == "failed":
        fix = "fix the reason, then `llmd restart`; docs/TROUBLESHOOTING.md explains every reason"
        return Finding("daemon", "problem", f"{text}: {status.reason}", fix)
    hint = "; the next completion loads the model" if status.state == "unloaded" else ""
    return Finding("daemon", "ok", text + hint)


def judge_paths(places: Sequence[PathFacts]) -> Iterator[Finding]:
    faults = [finding for place in places for finding in _judge_path(place)]
    yield from faults
    if not faults:
        names = ", ".join(place.what for place in places if place.mode is not None)
        text = f"Owner and mode are correct: {names}" if names else "No file of llmd exists yet"
        yield Finding("files", "ok", text)


def _judge_path(place: PathFacts) -> Iterator[Finding]:
    if place.mode is None:
        return
    name = f"The {place.what}, `{place.path}`,"
    own = f'as its owner: `chown "$USER" {shlex.quote(place.path)}`'
    own += "; or set another folder: docs/PROTOCOL.md" if place.is_folder else ", or remove it"
    if stat.S_ISLNK(place.mode) and place.is_private:
        yield Finding("files", "problem", f"{name} is a link", "remove the link")
    elif place.is_folder and not stat.S_ISDIR(place.mode) and not stat.S_ISLNK(place.mode):
        yield Finding("files", "problem", f"{name} is not a folder", "remove it")
    elif not place.is_ours and place.is_private:
        yield Finding("files", "problem", f"{name} belongs to another user", own)
    elif place.is_private and place.mode & 0o077:
        expected = "700" if place.is_folder else "600"
        text = f"{name} has mode {stat.S_IMODE(place.mode):04o}, expected 0{expected}"
        text += "; the next daemon sets it" if place.is_folder else ""
        level: Level = "note" if place.is_folder else "problem"
        yield Finding("files", level, text, f"`{shlex.join(('chmod', expected, place.path))}`")
    elif not place.is_writable:
        yield Finding("files", "problem", f"{name} cannot be written", own)
