"""Runs `llmd demo`: a temporary daemon, two completions in a sample file, and the status."""

from __future__ import annotations

import json

import msgspec

from llmd.bridge.daemon_client import DaemonClient
from llmd.cli import progress
from llmd.cli.status_text import status_text
from llmd.cli.temporary_daemon import temporary_daemon
from llmd.transport.status_types import CompleteParams, Completion, Status, decode_answer

SAMPLE = '''import json


def load_settings(path):
    """Reads the settings from a JSON file."""
    with open(path) as file:
        return $0


def save_settings(path, settings):
    """Writes the settings to a JSON file."""
    with open(path, "w") as file:
        json.dump(settings, file, indent=2)


def merge_settings(base, override):
    merged = dict(base)
    merged.update(override)
    return merged
'''


def run() -> int:
    progress.pull_with_progress()
    with temporary_daemon(["model=builtin"], has_users_config=False) as daemon:
        client = daemon.client
        before, after = SAMPLE.split("$0")
        first = _show(client, "A completion at the cursor", before, after)
        typed = first[:5] if first else "json."
        _show(client, f"The same after typing `{typed}`: a few tokens", before + typed, after)
        status = decode_answer(client.request("llmd/status", {}), Status)
        print("\nllmd status\n" + status_text(status))
    return 0


def _show(client: DaemonClient, title: str, before: str, after: str) -> str:
    lines = before.split("\n")
    params = CompleteParams(
        "file:///sample/settings.py", before + after, len(lines) - 1, len(lines[-1]), "python"
    )
    answer = client.request("llmd/complete", msgspec.to_builtins(params), timeout_s=60)
    completion = decode_answer(answer, Completion)
    print(f"\n{title}\n")
    progress.show_completion(before, completion.text, after)
    print("\ntrace: " + json.dumps(msgspec.to_builtins(completion.trace)))
    return completion.text
