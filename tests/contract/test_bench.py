"""`llmd bench` for real: a few edits with the built-in model, and a peer that streams."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.daemon import RunningDaemon

from llmd import signals

START = "def area(radius):\n    return 3.14 * radius\n\n\ndef volume(radius):\n"
KEYS = "    return area("
EDITS = [[len(START) + at, 0, key] for at, key in enumerate(KEYS)]
JUMP, NEWLINE = [0, 0, "import math"], [11, 0, "\n"]


@pytest.fixture
def here(models_dir: Path, tmp_path: Path) -> Iterator[RunningDaemon]:
    """Folders of its own; the benchmark starts a daemon in others."""
    unstarted = RunningDaemon(models_dir, tmp_path)
    yield unstarted
    unstarted.close()


@pytest.fixture
def trace(tmp_path: Path) -> str:
    txns = [{"patches": [patch]} for patch in (*EDITS, JUMP, NEWLINE)]
    path = tmp_path / "rustcode.json"
    path.write_text(json.dumps({"startContent": START, "endContent": "", "txns": txns}))
    return str(path)


class Server(ThreadingHTTPServer):
    """In llama-server's form; remembers what it was asked."""

    daemon_threads = True
    asked: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._reply(
            "application/json", [json.dumps({"build_info": "b7", "model_path": "/x/m.gguf"})]
        )

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        events = [{"content": "r", "stop": False}, {"content": "", "timings/prompt_n": 250}]
        self._reply("text/event-stream", [f"data: {json.dumps(event)}\n\n" for event in events])

    def _reply(self, content_type: str, pieces: list[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (*pieces, ""):
            self.wfile.write(f"{len(piece):x}\r\n{piece}\r\n".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def peer() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.timeout(300)
def test_a_replay_against_a_peer(here: RunningDaemon, trace: str, peer: Server) -> None:
    out = here.folder / "out"
    url = f"http://127.0.0.1:{peer.server_address[1]}"
    done = here.llmd("bench", trace, "--against", url, "--warm-up", "--out", str(out), "--json",
                     timeout_s=250)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ours, theirs = found["sides"]
    assert (ours["name"], theirs["version"]) == ("llmd", "b7, m.gguf")
    assert str(here.folder) not in done.stdout
    _adds_up(ours)
    keys = ours["kinds"]["key"]
    assert keys["n"] == len(KEYS)
    assert keys["n_model"] + keys["n_memory"] == len(KEYS)
    assert keys["tokens"]["p50"] <= 8
    assert ours["n_cancelled"] == 0
    assert theirs["kinds"]["key"]["tokens"]["p50"] == 250
    _was_sent_what_llama_vim_sends(peer.asked)
    _is_kept(out, found)


def _adds_up(side: dict[str, Any]) -> None:
    assert list(side["kinds"]) == ["key", "newline", "jump", "all"]
    for kind in side["kinds"].values():
        answers = ("n_model", "n_memory", "n_suppressed", "n_cancelled", "n_failed")
        assert sum(kind[name] for name in answers) == kind["n"]


def _was_sent_what_llama_vim_sends(asked: list[dict[str, Any]]) -> None:
    assert all(each["stream"] and each["samplers"] for each in asked)
    typed = [each["prompt"] for each in asked if each["input_prefix"] == START]
    assert typed[-2:] == [KEYS[:-1], KEYS]


def _is_kept(out: Path, found: dict[str, Any]) -> None:
    assert json.loads((out / "bench.json").read_text()) == found
    assert "| after" in (out / "bench.md").read_text()
    assert ET.fromstring((out / "bench.svg").read_text()).tag.endswith("svg")  # noqa: S314 - our own
    rows = json.loads((out / "bench-rows.json").read_text())
    assert len(rows["llmd"]) == len(rows["llama-server"]) == len(KEYS) + 2


@pytest.mark.timeout(300)
def test_at_a_pace_every_request_is_accounted_for(here: RunningDaemon, trace: str) -> None:
    done = here.llmd("bench", trace, "--pace", "1", "--alternate", "2", "--autopairs", "--cursor",
                     "--json", "--out", str(here.folder / "out"), timeout_s=250)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (side,) = json.loads(done.stdout)["sides"]
    assert side["kinds"]["all"]["n"] == 2 * ((len(KEYS) + 2) // 2)
    assert side["kinds"]["all"]["n_cancelled"]
    assert side["kinds"]["all"]["n_failed"] == 0
    assert side["n_cancelled"] >= 0
    assert not (here.folder / "state" / "daemon.lock").exists()


@pytest.mark.timeout(300)
def test_the_models_speed(here: RunningDaemon) -> None:
    out = here.folder / "out"
    done = here.llmd("bench", "model", "--depth", "0,32", "--batch", "1,8", "--threads", "1",
                     "--repeat", "1", "--out", str(out), timeout_s=250)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[engine]\ncache_type_k = " in done.stdout
    assert re.search(r"^Measuring \d settings, about a minute$", done.stderr, re.M)
    told = json.loads((out / "model.json").read_text())
    assert {(each["depth"], each["n_batch"]) for each in told["speeds"]} == {
        (0, 1), (0, 8), (32, 1), (32, 8),
    }  # fmt: skip
    assert all(each["tokens_per_s"] > 0 for each in told["speeds"])
    assert "svg" in (out / "model.svg").read_text()


def test_the_model_is_laid_out_as_the_daemon_does(here: RunningDaemon) -> None:
    here.edit_config('[engine]\nn_ctx = 1048576\ncache_type_k = "f16"\n')
    done = here.llmd("bench", "model")
    assert done.returncode == 1
    assert "`engine.n_ctx` is 1048576; lower it, or set it to auto" in done.stderr


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("/nosuch.json",), "cannot be read"),
        (("TRACE", "--from", "99"), "leaves none for each file"),
        (("TRACE", "--alternate", "0"), "expected 1 file or more"),
        (("TRACE", "--against", "nowhere"), "expected http://HOST:PORT"),
        (("TRACE", "--set", "fim.order=nosuch"), "fim.order"),
        (("model", "--batch", "0"), "take 1 or more"),
    ],
    ids=["no trace", "no edits", "no files", "no url", "no order", "no batch"],
)
def test_what_is_wrong_is_told_in_a_sentence(
    here: RunningDaemon, trace: str, argv: tuple[str, ...], said: str
) -> None:
    done = here.llmd("bench", *(trace if word == "TRACE" else word for word in argv))
    assert done.returncode == 2
    assert said in done.stderr


def test_a_peer_that_is_not_there_is_told_first(here: RunningDaemon, trace: str) -> None:
    done = here.llmd("bench", trace, "--against", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "No llama-server answers at `http://127.0.0.1:9`" in done.stderr


OWN = """
from llmd.cli.temporary_daemon import temporary_daemon
with temporary_daemon() as daemon:
    print(daemon.client.request("llmd/status", {})["pid"], flush=True)
    input()
"""


@pytest.mark.timeout(120)
def test_a_terminated_benchmark_takes_its_daemon_along(here: RunningDaemon) -> None:
    command = [sys.executable, "-c", OWN]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=here.env, stdin=pipe, stdout=pipe, text=True) as bench:
        assert bench.stdout
        pid = int(bench.stdout.readline())
        assert psutil.pid_exists(pid)
        bench.terminate()
        bench.wait()
    assert bench.returncode == signals.EXIT_CODE
    assert not psutil.pid_exists(pid)
