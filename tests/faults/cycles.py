"""Documents opened, edited, completed and closed, again and again, by clients of every manner; and
what the daemon still holds afterwards."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from itertools import pairwise

import psutil

from tests.support.daemon import RunningDaemon, wait_until
from tests.support.rawlsp import CODE, RawLsp

N_MEASURES = 5
MB = 1 << 20
# What the allocator keeps, and what the daemon keeps on purpose (traces, latencies), has filled by
# the end of the warm-up.
N_WARM_UP = 50
MAX_GROWTH_BYTES = 8 * MB
# The engine's clock is two tasks while it waits for work, and one in the second after some.
N_SPARE_TASKS = 1
N_FD_LOOKS, FD_LOOK_S = 20, 0.05


@dataclass(frozen=True, slots=True)
class Held:
    """What the daemon holds while no client is connected."""

    n_tasks: int
    n_daemon_fds: int
    n_worker_fds: int
    n_documents: int
    n_clients: int
    daemon_bytes: int


@dataclass(frozen=True, slots=True)
class Result:
    n_cycles: int
    n_requests: int
    before: Held
    after: tuple[Held, ...]  # at even distances, the last at the end

    def problems(self) -> list[str]:
        """What has grown; empty when nothing has."""
        last = self.after[-1]
        counts = ("n_daemon_fds", "n_worker_fds", "n_documents", "n_clients")
        spare = dict.fromkeys(counts, 0) | {"n_tasks": N_SPARE_TASKS}
        found = [
            f"{name} grew from {getattr(self.before, name)} to {getattr(last, name)}"
            for name, n_spare in spare.items()
            if getattr(last, name) > getattr(self.before, name) + n_spare
        ]
        grown_bytes = last.daemon_bytes - self.before.daemon_bytes
        if grown_bytes > MAX_GROWTH_BYTES:
            found.append(f"the daemon grew by {grown_bytes / MB:.1f} MB")
        if self.is_rising() and grown_bytes > MAX_GROWTH_BYTES / 4:
            found.append(f"the daemon grows all the time, by {grown_bytes / MB:.1f} MB so far")
        return found

    def is_rising(self) -> bool:
        """A leak rises at each measure; what is filled once does not."""
        sizes = [held.daemon_bytes for held in (self.before, *self.after)]
        return all(b - a > MB / 4 for a, b in pairwise(sizes))


def run(daemon: RunningDaemon, n_cycles: int, n_clients: int = 10, seed: int = 5) -> Result:
    """Runs the cycles from a seed. Each request that a client waits for is answered once."""
    made = random.Random(seed)
    _run(daemon, made, N_WARM_UP, n_clients)
    before = measure(daemon)
    n_requests, after = 0, []
    for done in range(N_MEASURES):
        n_now = n_cycles * (done + 1) // N_MEASURES - n_cycles * done // N_MEASURES
        n_requests += _run(daemon, made, n_now, n_clients)
        after.append(measure(daemon))
    return Result(n_cycles, n_requests, before, tuple(after))


def measure(daemon: RunningDaemon) -> Held:
    """Once what the last clients left has been cleared away."""
    wait_until(lambda: not daemon.status()["clients"], "all clients are gone")
    wait_until(lambda: not daemon.status()["process"]["n_documents"], "all documents are gone")
    return _held(daemon)


def _held(daemon: RunningDaemon) -> Held:
    status = daemon.status()
    process = status["process"]
    return Held(
        n_tasks=process["n_tasks"],
        n_daemon_fds=_fds(status["pid"]),
        n_worker_fds=_fds(status["worker_pid"]),
        n_documents=process["n_documents"],
        n_clients=len(status["clients"]),
        daemon_bytes=status["memory"]["daemon_bytes"],
    )


def _fds(pid: int) -> int:
    """The fewest of a while: the connection that asked for the status may be closing still, and
    a log being turned or a config being looked at is open for a moment. A leak stays."""
    process = psutil.Process(pid)
    counts = []
    for _ in range(N_FD_LOOKS):
        counts.append(process.num_fds())
        time.sleep(FD_LOOK_S)
    return min(counts)


def _run(daemon: RunningDaemon, made: random.Random, n_cycles: int, n_clients: int) -> int:
    """Returns how many requests were made."""
    clients = [RawLsp(daemon).initialize() for _ in range(n_clients)]
    n_requests = 0
    for n in range(n_cycles):
        place = n % n_clients
        n_requests += _cycle(made, clients[place])
        if made.random() < 0.05:  # leaves in the middle of it
            clients[place].ask_inline(clients[place].open())
            clients[place].close()
            clients[place] = RawLsp(daemon).initialize()
    for client in clients:
        client.close()
    return n_requests


def _cycle(made: random.Random, client: RawLsp) -> int:
    """One document's life. Its requests are superseded, cancelled, made stale, or waited for."""
    uri = client.open("# " + "x" * made.randrange(80) + "\n" + CODE)
    ids = []
    for version in range(2, 2 + made.randrange(1, 4)):
        edit = {"start": {"line": 0, "character": 2}, "end": {"line": 0, "character": 2}}
        client.note(
            "textDocument/didChange",
            textDocument={"uri": uri, "version": version},
            contentChanges=[{"range": edit, "text": "y" * made.randrange(9)}],
        )
        ids.append(client.ask_inline(uri, 2, 11, invoked=False))
        if made.random() < 0.3:
            client.note("$/cancelRequest", id=ids[-1])
    if made.random() < 0.9:  # else the next document comes while this one is asked about
        client.reply(ids[-1])
    if made.random() < 0.8:  # else it is left open, until its client goes
        client.note("textDocument/didClose", textDocument={"uri": uri})
    counts = client.settle()
    waited = [id_ for id_ in ids if id_ in counts]
    assert all(counts[id_] == 1 for id_ in waited), counts
    client.forget()
    return len(ids)
