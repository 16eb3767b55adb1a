"""The command line. Each command imports what it needs when it runs, so that `status` and `lsp`
start at once. Exit 2 for bad input, 1 for a failure."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from llmd import __version__
from llmd.errors import BadInput, DaemonError, LlmdError


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except LlmdError as error:
        print(f"llmd: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmd", description="Completes code at the cursor in every editor, from one warm model"
    )
    parser.add_argument("--version", action="version", version=f"llmd {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    command("serve", _serve, "run the daemon in the foreground")
    command("start", _start, "start the daemon if none runs")
    command("stop", _stop, "stop the daemon")
    status = command("status", _status, "say what the daemon is and has done")
    status.add_argument("--json", action="store_true", help="all of it, as docs/PROTOCOL.md has it")
    complete = command("complete", _complete, "complete at a place in a file")
    complete.add_argument("place", metavar="FILE:LINE:COL", help="counted from 1, in characters")
    complete.add_argument("--json", action="store_true", help="text and trace")
    pull = command("pull", _pull, "bring a model to this machine")
    pull.add_argument("model", choices=["builtin"])
    command("lsp", _lsp, "serve an editor on standard input and output")
    command("demo", _demo, "show a completion from a daemon of its own")
    return parser


def _serve(_: argparse.Namespace) -> int:
    from llmd.daemon import serve

    return serve()


def _start(_: argparse.Namespace) -> None:
    from llmd.transport import control

    control.ensure_daemon().close()


def _control() -> Any:
    from llmd.transport import control

    if peer := control.connect():
        return control.Control(peer)
    raise DaemonError("No daemon runs; `llmd start` starts one")


def _stop(_: argparse.Namespace) -> None:
    from llmd.transport import control

    daemon = _control()
    pid = daemon.request("llmd/status", {})["pid"]
    daemon.request("llmd/stop", {})
    end_s = time.monotonic() + 5
    while control.is_running():
        if time.monotonic() > end_s:
            raise DaemonError(f"The daemon, pid {pid}, does not stop; `kill {pid}` ends it")
        time.sleep(0.02)


def _status(args: argparse.Namespace) -> None:
    found = _control().request("llmd/status", {})
    if args.json:
        print(json.dumps(found))
    else:
        print(status_text(found))


def status_text(found: dict[str, Any]) -> str:
    """A status for a person, one screen."""
    model, counts, memory = found["model"], found["counts"], found["memory"]
    ttft, total = found["latency"]["ttft_ms"], found["latency"]["total_ms"]
    share = 100 * counts["n_cached"] / max(1, counts["n_prompt"])
    editors = ", ".join(client["editor"] or "?" for client in found["clients"]) or "none"
    by_path = ", ".join(f"{n} {path}" for path, n in counts["by_path"].items()) or "none"
    mib = {key: value / (1 << 20) for key, value in memory.items()}
    rows = {
        "state": found["state"] + (f": {found['reason']}" if found["reason"] else ""),
        "daemon": f"{found['version']}, pid {found['pid']}, worker {found['worker_pid']}",
        "model": f"{model['name']} ({model['quantisation']}), {model['path']}",
        "prompt": f"{model['family']}, {model['order']}, n_ctx {model['n_ctx']}",
        "engine": f"{model['backend']}, K {model['cache_type_k']}, V {model['cache_type_v']}",
        "memory": f"daemon {mib['daemon_bytes']:.0f}, worker {mib['worker_bytes']:.0f}, "
        f"of it KV {mib['kv_bytes']:.0f} MiB",
        "clients": editors,
        "requests": by_path,
        "cached": f"{share:.0f} % of {counts['n_prompt']} prompt tokens",
        "ttft": f"p50 {ttft['p50']:.0f} ms, p95 {ttft['p95']:.0f} ms",
        "total": f"p50 {total['p50']:.0f} ms, p95 {total['p95']:.0f} ms",
        "notice": found["notice"],
    }
    return "\n".join(f"{name:9} {text}" for name, text in rows.items() if text)


def _complete(args: argparse.Namespace) -> None:
    from llmd.transport import control

    params = place_params(args.place)
    daemon = control.Control(control.ensure_daemon())
    answer = daemon.request("llmd/complete", params, timeout_s=60)
    print(json.dumps(answer) if args.json else answer["text"])
    if answer["trace"]["path"] in ("failed", "suppressed") and not args.json:
        raise DaemonError(f"No completion: {answer['trace']['reason']}")


def place_params(place: str) -> dict[str, Any]:
    """`FILE:LINE:COL` as the parameters of `llmd/complete`.

    Raises:
        BadInput: no such file, no text, or no such position.
    """
    from llmd.document.text import content, split_lines

    name, _, numbers = place.rpartition(":")
    name, _, line_text = name.rpartition(":")
    if not (name and line_text.isdigit() and numbers.isdigit()):
        raise BadInput(f"Place `{place}` is not FILE:LINE:COL, for example `main.py:12:5`")
    text = _read(Path(name))
    line, col = int(line_text) - 1, int(numbers) - 1
    lines = split_lines(text)
    if not 0 <= line < len(lines):
        raise BadInput(f"Line {line + 1} is outside `{name}`, which has lines 1 to {len(lines)}")
    if not 0 <= col <= (n_cols := len(content(lines[line]))):
        raise BadInput(
            f"Column {col + 1} is outside line {line + 1} of `{name}`, "
            f"which has columns 1 to {n_cols + 1}"
        )
    uri = Path(name).absolute().as_uri()
    return {"uri": uri, "languageId": "", "text": text, "line": line, "col": col}


def _read(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise BadInput(f"`{path}` is not a file; give a text file")
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise BadInput(f"File `{path}` cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"File `{path}` is not UTF-8 text (byte {error.start})") from None


def _pull(_: argparse.Namespace) -> None:
    from llmd.terminal import pull_with_progress

    print(pull_with_progress())


def _lsp(_: argparse.Namespace) -> int:
    from llmd.transport import bridge, control

    return bridge.run(control.ensure_daemon)


def _demo(_: argparse.Namespace) -> int:
    from llmd.demo import run

    return run()
