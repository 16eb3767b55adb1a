"""Each command runs with the core packages alone; what an extra adds, a sentence says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.daemon import RunningDaemon

EXTRAS = {"bench": ("leather",), "train": ("torch", "scipy")}
# Python imports this file at every start, in the commands' child processes too.
SITECUSTOMIZE = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sum(EXTRAS.values(), ())!r}:
            raise ImportError(f"{{name}} is not installed in this test")
sys.meta_path.insert(0, Refuse())
"""
# What a command needs beyond the core: the extra, of which the command prints a sentence.
NEEDS = {
    ("status",): "",
    ("complete", "FILE:2:12"): "",
    ("why",): "",
    ("config",): "",
    ("models",): "",
    ("path", "socket"): "",
    ("pull", "builtin", "--help"): "",
    ("bench", "--help"): "",
    ("eval", "--help"): "",
    ("demo",): "",
    ("eval", "--limit", "1", "--out", "FILE.eval"): "bench",
    ("bench", "model", "--depth", "0", "--batch", "1,8", "--repeat", "1", "--out", "FILE.bench"):
        "bench",
}  # fmt: skip


@pytest.fixture(scope="module")
def core(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon in an environment that lacks every extra."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    (folder / "main.py").write_text("def add(a, b):\n    return a\n")
    daemon = RunningDaemon(models_dir, folder)
    daemon.env["PYTHONPATH"] = f"{folder}:{daemon.env.get('PYTHONPATH', '')}".rstrip(":")
    with daemon:
        yield daemon


def test_the_extras_are_missing_in_these_tests(core: RunningDaemon) -> None:
    for package in sum(EXTRAS.values(), ()):
        command = [core.command[0], "-c", f"import {package}"]
        done = subprocess.run(command, env=core.env, capture_output=True, text=True, check=False)
        assert "is not installed in this test" in done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("argv", NEEDS, ids=" ".join)
def test_a_command_without_extras(core: RunningDaemon, argv: tuple[str, ...]) -> None:
    file = str(core.folder / "main.py")
    done = core.llmd(*(word.replace("FILE", file) for word in argv), timeout_s=250)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "Traceback" not in done.stderr
    extra = NEEDS[argv]
    n_sentences = done.stderr.count("pip install")
    assert n_sentences == (1 if extra else 0)
    assert not list(core.folder.rglob("*.svg"))
    assert not extra or f"`pip install 'llmd[{extra}]'`" in done.stderr


def test_doctor_without_extras(core: RunningDaemon) -> None:
    done = core.llmd("doctor", timeout_s=100)
    assert "Traceback" not in done.stdout + done.stderr
    assert not any(name in done.stdout + done.stderr for name in sum(EXTRAS.values(), ()))


def test_lsp_without_extras(core: RunningDaemon) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":null,'
    body += b'"rootUri":null,"capabilities":{}}}'
    message = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    with subprocess.Popen(
        [*core.command, "lsp"], env=core.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(message)
        process.stdin.flush()
        header = process.stdout.readline()
        process.stdout.readline()
        assert b"capabilities" in process.stdout.read(int(header.split(b":")[1]))
