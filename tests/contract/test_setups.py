"""The first hour where folders and PATH are other: macOS, a home with a blank, launchd."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.daemon import RunningDaemon
from tests.support.editor import Editor

LLMD = str(Path(sys.executable).parent / "llmd")
LAUNCHD_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
CODE = "import os\n\n\ndef count(path):\n    return len(os.listdir(\n"


class User:
    """Runs llmd for a user whose home is `home`, with no variable of the tests' own folders."""

    def __init__(self, home: Path, variables: dict[str, str]) -> None:
        kept = {key: value for key, value in os.environ.items()
                if not key.startswith(("XDG_", "LLMD_", "HF_"))}  # fmt: skip
        self.home = home
        self.env = {**kept, "HOME": str(home), **variables}
        # A developer's own daemon may listen in the system's folder, which no variable names.
        if "XDG_RUNTIME_DIR" not in variables and Path(f"/run/user/{os.getuid()}").is_dir():
            self.env["LLMD_RUNTIME_DIR"] = str(home / "run")

    def llmd(self, *args: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [LLMD, *args], env=self.env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode in codes, (args, done.stdout, done.stderr)
        return done.stdout

    def doctor(self) -> list[dict[str, str]]:
        report = json.loads(self.llmd("doctor", "--json", codes=(0, 1)))
        rows: list[dict[str, str]] = report["findings"]
        return rows


SETUPS = ("one folder", "J\u00f6rg M", "bare PATH", "no XDG")


@pytest.fixture(params=SETUPS)
def user(request: pytest.FixtureRequest) -> Iterator[User]:
    name = request.param
    with tempfile.TemporaryDirectory(prefix="llmd-") as folder:  # short, for the socket's path
        home, variables = Path(folder), {}
        if name == "one folder":  # as on macOS, for data, configuration and state
            shared = str(home / "Library" / "Application Support")
            names = ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")
            variables = dict.fromkeys(names, shared)
        elif name == "bare PATH":
            variables = {"PATH": LAUNCHD_PATH}
        elif name != "no XDG":
            home /= name
            home.mkdir()
        user = User(home, variables)
        yield user
        user.llmd("stop", codes=(0, 1))


def test_pull_start_complete_restart_doctor_purge(user: User, models_dir: Path) -> None:
    config, log = (Path(user.llmd("path", what).strip()) for what in ("config", "log"))
    model, code = user.home / "my model.gguf", user.home / "code.py"
    shutil.copy(next(models_dir.glob("smollm2*.gguf")), model)
    code.write_text(CODE)

    user.llmd("pull", str(model))
    user.llmd("use", str(model))
    assert user.llmd("complete", f"{code}:5:26")
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    user.llmd("restart", "--daemon")
    assert user.llmd("complete", f"{code}:5:26")
    problems = [row for row in user.doctor() if row["level"] == "problem"]
    assert [row["topic"] for row in problems] in ([], ["editors"])  # `llmd` is not on every PATH
    user.llmd("stop")
    user.llmd("purge", "--yes")
    assert not log.parent.exists()
    assert not config.parent.exists()
    assert not [path for path in user.home.rglob("*") if path.name == "llmd"]
    assert model.exists()


def test_demo(user: User, models_dir: Path) -> None:
    """`llmd pull builtin` is in the cache of the tests; its folders have the default mode."""
    code = "from llmd import paths; print(paths.models_dir())"
    asked = subprocess.run(
        [sys.executable, "-c", code], env=user.env, capture_output=True, text=True, check=True
    )
    models = Path(asked.stdout.strip())
    models.mkdir(parents=True)
    builtin = next(models_dir.glob("smollm2*.gguf"))
    shutil.copy(builtin, models / builtin.name)
    assert "llmd status" in user.llmd("demo")
    (user.home / "code.py").write_text(CODE)
    assert user.llmd("complete", f"{user.home / 'code.py'}:5:26")  # a daemon beside that folder


SMALL_BUFFERS = (
    sys.executable, "-c",
    "from llmd.transport import framing; framing.SEND_BUFFER_BYTES = 4096;"
    " from llmd.cli.main import main; raise SystemExit(main())",
)  # fmt: skip


class SmallDaemon(RunningDaemon):
    command = SMALL_BUFFERS


def test_large_documents_pass_sockets_with_small_buffers(models_dir: Path, tmp_path: Path) -> None:
    """A unix socket of macOS holds 8 KiB: neither side may wait for the other while it sends."""
    with SmallDaemon(models_dir, tmp_path) as daemon:
        editor = Editor(daemon, command=SMALL_BUFFERS)
        text = "def add(a, b):\n    return a + \n" + "# a comment as long as others\n" * 10_000
        for number in range(3):
            uri = f"file:///t/{number}.py"
            editor.open(text, uri=uri)
            ids = [editor.ask("llmd/status") for _ in range(50)]
            editor.insert(2, 0, text, uri=uri)
            assert all(editor.answer(id_)["result"] for id_ in ids)
        editor.close()
