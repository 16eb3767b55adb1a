"""The daemon, its socket, and the folders and files that both need. Pure."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmd.cli.doctor.finding import Finding
from llmd.transport.status import Status


@dataclass(frozen=True, slots=True)
class Daemon:
    """`status`: its answer to `llmd/status`. `problem`: what kept it from
    answering. `socket`: where this shell looks for it; `found_at`: where it says that it is."""

    own_version: str
    socket: str
    is_running: bool = False
    found_at: str = ""
    problem: str = ""
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or file as `lstat` sees it; `mode` None: it is not there, which is no fault.
    `is_private`: nobody else may enter it. `is_writable`: by us."""

    what: str
    path: str
    mode: int | None = None
    is_ours: bool = True
    is_private: bool = True
    is_writable: bool = True
    is_folder: bool = True


def of_daemon(daemon: Daemon) -> Iterator[Finding]:
    if daemon.problem:
        fix = "`llmd stop`, then `llmd start`; `llmd logs` has more"
        yield Finding("daemon", "problem", daemon.problem, fix)
    elif not daemon.status and daemon.is_running:
        said = f"A daemon runs, and its socket is not at `{daemon.found_at or daemon.socket}`"
        yield Finding("daemon", "problem", said, "`llmd stop`, then `llmd start`")
    elif not daemon.status:
        yield Finding("daemon", "ok", "No daemon runs; the first editor starts one")
    else:
        yield from _of_status(daemon, daemon.status)


def _of_status(daemon: Daemon, status: Status) -> Iterator[Finding]:
    if status.version != daemon.own_version:
        said = f"The daemon is llmd {status.version}, this is {daemon.own_version}"
        fix = "`llmd restart --daemon`, and restart the editors that are open"
        yield Finding("daemon", "problem", said, fix)
    if daemon.found_at and daemon.found_at != daemon.socket:
        said = f"The daemon's socket is `{daemon.found_at}`; this shell would make it elsewhere"
        fix = f"nothing, if it works; else set XDG_RUNTIME_DIR alike, or link `{daemon.socket}`"
        yield Finding("daemon", "note", said, fix)
    yield _of_state(status)
    if problem := status.config.problem:
        yield Finding("daemon", "problem", problem, "correct it; the old settings are in force")
    for client in status.clients:
        yield Finding("daemon", "ok", f"Connected: {client.editor or client.name}")


def _of_state(status: Status) -> Finding:
    said = f"The daemon, pid {status.pid}, is {status.state}"
    if status.state == "failed":
        fix = "what it says, then `llmd restart`; docs/TROUBLESHOOTING.md has every sentence"
        return Finding("daemon", "problem", f"{said}: {status.reason}", fix)
    if status.state == "unloaded":
        return Finding("daemon", "ok", f"{said}; the next completion loads the model")
    return Finding("daemon", "ok", said)


def of_places(places: Sequence[Place]) -> Iterator[Finding]:
    wrong = [finding for place in places for finding in _of_place(place)]
    yield from wrong
    if not wrong:
        names = ", ".join(place.what for place in places if place.mode is not None) or "nothing"
        yield Finding("files", "ok", f"As they should be: {names}")


def _of_place(place: Place) -> Iterator[Finding]:
    if place.mode is None:
        return
    name = f"The {place.what}, `{place.path}`,"
    if stat.S_ISLNK(place.mode) and place.is_private:
        yield Finding("files", "problem", f"{name} is a link", "remove the link")
    elif place.is_folder and not stat.S_ISDIR(place.mode) and not stat.S_ISLNK(place.mode):
        yield Finding("files", "problem", f"{name} is not a folder", "remove it")
    elif not place.is_ours and place.is_private:
        yield Finding("files", "problem", f"{name} belongs to another user", _others(place))
    elif place.is_private and place.mode & 0o077:
        right = "700" if place.is_folder else "600"
        said = f"{name} has mode {stat.S_IMODE(place.mode):04o}, expected 0{right}"
        yield Finding("files", "problem", said, f"`chmod {right} '{place.path}'`")
    elif not place.is_writable:
        yield Finding("files", "problem", f"{name} cannot be written", _others(place))


def _others(place: Place) -> str:
    if not place.is_folder:
        return f"as its owner: `chown \"$USER\" '{place.path}'`, or remove it"
    return (
        f"as its owner: `chown \"$USER\" '{place.path}'`; or name another, docs/CONFIG.md says how"
    )
