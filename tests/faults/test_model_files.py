"""Invalid model files, and files that change while in use: messages, and a daemon that runs on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmd.models.pull.build_builtin import ADAPTER
from tests.support.daemon import GREEDY, RunningDaemon, wait_until
from tests.support.editor import Editor
from tests.support.gguf_bytes import U16, Tensor, number, tiny

CODE = "def add(a, b):\n    return $0\n"


def _nothing(path: Path) -> None:
    pass


def _text(path: Path) -> None:
    path.write_text("<html>404</html>" * 100)


def _empty(path: Path) -> None:
    path.touch()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _half(path: Path) -> None:
    shutil.copy(_builtin(path), path)
    os.truncate(path, path.stat().st_size // 2)


def _builtin(path: Path) -> Path:
    return path.with_name("builtin.gguf")


def _adapter(path: Path) -> None:
    path.symlink_to(ADAPTER)


def _liar(path: Path) -> None:
    path.write_bytes(tiny(n_kv=1 << 40).encode())


def _part(path: Path) -> None:
    parts = {"split.count": number(U16, 3), "split.no": number(U16, 0)}
    path.write_bytes(tiny(parts).encode())


def _larger_than_any_machine(path: Path) -> None:
    """Writes a sparse file: 4 TiB by the header, some kilobytes on the disk."""
    small = tiny()
    huge = Tensor("blk.0.extra.weight", (32, 1 << 35), len(small.data))
    path.write_bytes(replace(small, tensors=[*small.tensors, huge]).encode())
    os.truncate(path, path.stat().st_size + (1 << 42))


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (_nothing, "Model file `{path}` does not exist; set `model` in {config} to a GGUF"),
    "a folder": (Path.mkdir, "Model file `{path}` is not a file; set `model` in {config} to a"),
    "row 29, a FIFO": (_fifo, "Model file `{path}` is not a file; set `model` in {config} to a"),
    "empty": (_empty, "Model file `{path}` is empty; "),
    "a page": (_text, "Model file `{path}` is a web page, expected GGUF; download the file itself"),
    "row 21, cut": (_half, "Model file `{path}` has "),
    "an adapter": (_adapter, "Model file `{path}` is not a language model that completes text: "),
    "row 22, a lie": (
        _liar,
        "Model file `{path}` is damaged before byte 24: the field count is",
    ),
    "a lost part": (
        _part,
        "Model file `{path}` is part 1 of 3, expected a name that ends in `-00001-of-00003.gguf`",
    ),
    "no memory": (
        _larger_than_any_machine,
        "Model file `{name}` needs 4398.1 GB of memory, of which 4398.0 GB are weights, and ",
    ),
}


@pytest.fixture(scope="module")
def patient(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """Yields a daemon that gets one invalid model after the other."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "builtin.gguf").symlink_to(models_dir / "smollm2-135m-fim-3-Q8_0.gguf")
    with RunningDaemon(models_dir, folder) as running:
        yield running


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_an_invalid_model_is_reported_and_a_valid_one_loads_afterwards(
    patient: RunningDaemon,
    make: Callable[[Path], None],
    message: str,
    request: pytest.FixtureRequest,
) -> None:
    path = patient.folder / f"{request.node.callspec.id[-7:].strip()}.gguf"
    make(path)
    sentence = message.format(path=path, name=path.name, config=patient.folder / "config.toml")
    editor = Editor(patient)
    patient.edit_config(f'model = "{path}"\n{GREEDY}')
    done = patient.llmd("restart")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"llmd: {sentence}")
    assert done.stderr.count("\n") == 1
    status = patient.status()
    assert (status["state"], status["switch"]["state"]) == ("ready", "failed")
    assert status["notice"].startswith(sentence)
    assert status["notice"].endswith("; `builtin` stays in use")
    assert patient.complete(CODE)["text"]
    editor.call("llmd/status")
    shown = [n["params"]["message"] for n in editor.notifications if "Message" in n["method"]]
    assert shown == [f"llmd: {status['notice']}"]
    patient.edit_config(GREEDY)
    assert patient.llmd("restart").returncode == 0
    assert patient.complete(CODE)["text"]
    editor.close()


@pytest.fixture
def on_copy(models_dir: Path, tmp_path: Path) -> Iterator[tuple[RunningDaemon, Path]]:
    """Yields a daemon with a copy of the built-in model that the test may damage."""
    path = tmp_path / "copy.gguf"
    shutil.copy(models_dir / "smollm2-135m-fim-3-Q8_0.gguf", path)
    with RunningDaemon(models_dir, tmp_path, f'model = "{path}"\n{GREEDY}') as running:
        yield running, path


def test_row_27_a_replaced_model_serves_until_restart(on_copy: tuple[RunningDaemon, Path]) -> None:
    daemon, path = on_copy
    text = daemon.complete(CODE)["text"]
    shutil.copy(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
    assert daemon.complete(CODE)["text"] == text
    assert daemon.status()["notice"] == (
        f"Model file `{path}` has changed since it was loaded; run `llmd restart` to load it again"
    )
    assert daemon.llmd("restart").returncode == 0
    assert daemon.status()["notice"] == ""


def test_a_deleted_model_serves_until_restart(on_copy: tuple[RunningDaemon, Path]) -> None:
    daemon, path = on_copy
    path.unlink()
    assert daemon.complete(CODE)["text"]
    assert daemon.status()["notice"] == (
        f"Model file `{path}` is gone; the loaded model stays in use, but cannot be loaded again"
    )
    assert f"Model file `{path}` does not exist" in daemon.llmd("restart").stderr


def test_row_28_a_model_truncated_in_place_is_reported(
    on_copy: tuple[RunningDaemon, Path],
) -> None:
    """The kernel kills the worker at a missing page; the check of the header prevents a reload."""
    daemon, path = on_copy
    os.truncate(path, 1 << 20)
    daemon.complete("import os\n" * 50 + CODE)
    found = wait_until(
        lambda: daemon.status()["state"] == "failed" and daemon.status(), "it is given up"
    )
    assert found["reason"].startswith(f"Model file `{path}` is truncated at byte ")
    log = (daemon.folder / "state" / "llmd.log").read_text()
    assert "The engine worker ended (SIGBUS, since its model file has changed)" in log


def test_a_worker_that_cannot_be_started_is_tried_again(own_daemon: RunningDaemon) -> None:
    """First there is no free file descriptor for a process; later there is."""
    pid = own_daemon.status()["pid"]
    worker_pid = own_daemon.status()["worker_pid"]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    control = own_daemon.control()
    control.request("llmd/status", {})  # it has been accepted
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, before[1]))
    os.kill(worker_pid, signal.SIGKILL)

    def last_error() -> str:
        return str(control.request("llmd/status", {})["last_error"]["text"])

    wait_until(lambda: "cannot be started: Too many open files" in last_error(), "it is told")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    wait_until(lambda: own_daemon.status()["state"] == "ready", "it was started")
    assert own_daemon.complete(CODE)["text"]
