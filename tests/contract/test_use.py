"""`llmd use` while an editor types, with the real worker: no request is dropped or answered twice,
and if a model cannot be loaded the previous model stays in use."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.test_restart import Typist, held_text
from tests.support import gguf_bytes
from tests.support.daemon import GREEDY, RunningDaemon, wait_until
from tests.support.editor import Editor, text_of


def tiny(folder: Path, name: str = "tiny.gguf") -> Path:
    path = folder / name
    path.write_bytes(gguf_bytes.tiny().encode())
    return path


def broken(folder: Path) -> Path:
    """Writes a model with a valid header that lacks a tensor that llama.cpp needs."""
    whole = gguf_bytes.tiny()
    fewer = [tensor for tensor in whole.tensors if tensor.name != "blk.0.ffn_down.weight"]
    path = folder / "broken.gguf"
    path.write_bytes(replace(whole, tensors=fewer).encode())
    return path


class Typing:
    """Represents an editor whose user types, with a request at each key."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.editor = Editor(daemon)
        self._typist = Typist(self.editor, seed=7)
        self.ids: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._type, daemon=True)
        self._thread.start()

    def _type(self) -> None:
        while not self._stop.is_set():
            self._typist.edit()
            self.ids.append(self.editor.ask_inline(0, 0, invoked=False))
            self._stop.wait(0.03)

    def end(self) -> list[str]:
        """Stops typing, and returns the answer of each request."""
        self._stop.set()
        self._thread.join()
        texts = [text_of(self.editor.answer(id_)) for id_ in self.ids]
        assert held_text(self.editor) == self._typist.text
        return texts


def test_a_switch_under_a_typing_editor_drops_and_repeats_nothing(
    own_daemon: RunningDaemon, models_dir: Path
) -> None:
    before = own_daemon.status()
    typing = Typing(own_daemon)
    wait_until(lambda: len(typing.ids) > 10, "it types")
    path = tiny(own_daemon.folder)
    done = own_daemon.llmd("use", str(path))
    assert done.returncode == 0
    assert done.stdout.startswith("tiny ((guessed) all F32) is loaded\n")
    n_between = len(typing.ids)
    wait_until(lambda: len(typing.ids) > n_between + 10, "it types on")
    assert own_daemon.llmd("use", "builtin").returncode == 0
    typing.end()
    status = own_daemon.status()
    assert status["pid"] == before["pid"]
    assert status["worker_pid"] != before["worker_pid"]
    assert status["model"]["path"] == str(models_dir / "smollm2-135m-fim-3-Q8_0.gguf")
    assert status["counts"]["requests"] == len(typing.ids), "all are counted"
    assert sum(status["counts"]["by_path"].values()) == len(typing.ids)
    assert typing.editor.process.poll() is None
    typing.editor.close()


def test_if_a_model_cannot_be_loaded_the_previous_one_stays(own_daemon: RunningDaemon) -> None:
    config = own_daemon.folder / "config.toml"
    pid, path = own_daemon.status()["worker_pid"], broken(own_daemon.folder)
    done = own_daemon.llmd("use", str(path))
    assert done.returncode == 1
    assert f"Model file `{path}` cannot be loaded: llama.cpp reports" in done.stderr
    assert done.stderr.endswith("; the config names the previous model again\n")
    assert config.read_text() == GREEDY
    status = wait_until(
        lambda: (s := own_daemon.status())["switch"]["state"] != "loading" and s, "it has settled"
    )
    assert (status["state"], status["worker_pid"]) == ("ready", pid)
    editor = Editor(own_daemon)
    editor.open("import os\n\n\ndef walk(path):\n    for name in os.")
    assert editor.inline(4, 19)
    editor.close()


def test_the_same_model_again_changes_nothing(own_daemon: RunningDaemon) -> None:
    pid = own_daemon.status()["worker_pid"]
    assert own_daemon.llmd("use", "builtin").returncode == 0
    assert own_daemon.status()["worker_pid"] == pid


def test_a_replaced_file_is_loaded_again(own_daemon: RunningDaemon) -> None:
    path = tiny(own_daemon.folder)
    assert own_daemon.llmd("use", str(path)).returncode == 0
    pid = own_daemon.status()["worker_pid"]
    tiny(own_daemon.folder, "new.gguf").replace(path)
    assert own_daemon.llmd("use", str(path)).returncode == 0
    assert own_daemon.status()["worker_pid"] != pid


@pytest.mark.parametrize("order", ["", "spm"])
def test_an_entry_of_the_user_s_own_is_used_with_its_order(
    own_daemon: RunningDaemon, order: str
) -> None:
    path = tiny(own_daemon.folder)
    order_line = f'order = "{order}"\n' if order else ""
    (own_daemon.folder / "catalog.toml").write_text(
        f'[mine]\n{order_line}files = [{{ path = "{path}", quantisations = ["F32"] }}]\n'
    )
    assert own_daemon.llmd("use", "mine").returncode == 0
    model = own_daemon.status()["model"]
    assert (model["path"], model["order"]) == (str(path), order or "psm")
