"""Tests that what a command prints of foreign text has no control, escape or bidi character."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from tests.support.daemon import RunningDaemon

LLMD = str(Path(sys.executable).parent / "llmd")
HOSTILE = "a\x1b[2J\x07\u202e\u2066\nllmd: all is well\r\x9b31m"
COMMANDS: tuple[tuple[str, ...], ...] = (
    (HOSTILE,),
    ("status", HOSTILE),
    ("complete", HOSTILE),
    ("complete", f"{HOSTILE}:1:1"),
    ("complete", "{file}:9:9"),
    ("complete", "{folder}:1:1"),
    ("use", HOSTILE),
    ("use", "{file}"),
    ("use", f"hf:{HOSTILE}"),
    ("use", "{file}.gguf"),
    ("pull", HOSTILE),
    ("pull", f"hf:a/b/{HOSTILE}.gguf"),
    ("pull", "{file}"),
    ("models", "rm", HOSTILE),
    ("models", "verify", HOSTILE),
    ("why", HOSTILE),
    ("path", HOSTILE),
    ("config", "from-flags", "--", HOSTILE),
    ("config", "from-flags", "--", "-m", HOSTILE),
    ("config", "from-flags", "--", f"--{HOSTILE}", HOSTILE),
    ("serve", "--set", HOSTILE),
    ("serve", "--set", f"{HOSTILE}=1"),
    ("bench", HOSTILE),
    ("bench", "{file}"),
    ("bench", "{file}", "--out", "{file}/x"),
    ("eval", "--set", HOSTILE),
    ("logs",),
)
VARIABLES = (
    {"LLMD_CONFIG": "{folder}"},
    {"LLMD_CONFIG": "{file}"},
    {"LLMD_STATE_DIR": "{file}"},
    {"LLMD_RUNTIME_DIR": "{file}"},
    {"LLMD_RUNTIME_DIR": "/" + HOSTILE * 9},
    {"LLMD_MODEL": HOSTILE},
    {"LLMD_MODEL": "{file}"},
    {"HF_ENDPOINT": HOSTILE},
)


def hostile_characters(text: str) -> set[str]:
    """Returns the characters that move, hide or forge: categories C, but for the line's end."""
    return {char for char in text if unicodedata.category(char)[0] == "C" and char != "\n"}


def told(env: dict[str, str], args: tuple[str, ...]) -> str:
    done = subprocess.run(
        [LLMD, *args], env=env, capture_output=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode in ((0,) if "from-flags" in args else (1, 2)), (args, done)
    return done.stderr.decode() + done.stdout.decode()


@pytest.fixture
def filled(alone: RunningDaemon) -> dict[str, str]:
    """Names of a file and a folder with hostile names."""
    name = HOSTILE.replace("/", "")
    (alone.folder / f"{name}.file").write_text("model = [\n")
    (alone.folder / f"{name}.dir").mkdir()
    (alone.folder / f"{name}.file.gguf").write_bytes(b"GGUF" + os.urandom(40))
    folder = str(alone.folder)
    return {"file": f"{folder}/{name}.file", "folder": f"{folder}/{name}.dir"}


@pytest.mark.parametrize("args", COMMANDS, ids=lambda args: ascii(" ".join(args))[:60])
def test_an_error_names_foreign_text_in_printable_characters(
    alone: RunningDaemon, filled: dict[str, str], args: tuple[str, ...]
) -> None:
    words = (arg.replace("{file}", filled["file"]) for arg in args)
    text = told(alone.env, tuple(word.replace("{folder}", filled["folder"]) for word in words))
    assert hostile_characters(text) == set()
    assert "\nllmd: all is well" not in text


@pytest.mark.parametrize("variables", VARIABLES, ids=lambda row: ascii(str(row))[:60])
@pytest.mark.parametrize("command", ["status", "pull nothing", "use nothing"])
def test_an_error_names_a_hostile_variable_in_printable_characters(
    alone: RunningDaemon, filled: dict[str, str], variables: dict[str, str], command: str
) -> None:
    env = {key: value.format(**filled) for key, value in variables.items()}
    text = told(alone.env | env, tuple(command.split()))
    assert hostile_characters(text) == set()
    assert "\nllmd: all is well" not in text
