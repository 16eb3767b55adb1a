"""`llmd use` under an editor that types without pause: what each request was answered, and by which
model. The engine says which it is, and of which version of the text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import gguf_bytes
from tests.support.daemon import GREEDY, RunningDaemon, wait_until
from tests.support.editor import text_of
from tests.support.named_engine import NO_ROOM, held
from tests.support.rawlsp import INLINE_METHOD, RawLsp, inline_params, new_uri

from llmd.transport.framing import frame

ROOT = Path(__file__).parents[2]
LLMD = str(Path(sys.executable).parent / "llmd")
EMPTY = ""


class NamedDaemon(RunningDaemon):
    command = (sys.executable, "-m", "tests.support.named_engine")


class Typing:
    """An editor whose user replaces one line by the next. `versions` are those of the requests."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.client = RawLsp(daemon).initialize()
        self.versions: dict[int, int] = {}
        self.overtaken: set[int] = set()  # an edit came with them
        self._version = 1
        self._uri = self.client.open("v1 = ", new_uri())

    def type(self) -> int:
        """Two keys that ask and are overtaken: by the next key's request, and by a key that asks
        nothing. Then a request that nothing overtakes."""
        self.client.write(
            b"".join(self._edit() + self._question() for _ in range(2)) + self._edit()
        )
        overtaken = [*self.versions][-2:]
        self.overtaken.update(overtaken)
        self.client.reply(overtaken[-1])
        self.client.write(self._question())
        self.client.reply([*self.versions][-1])
        return len(self.versions)

    def end(self) -> dict[int, str]:
        """What each request was answered, once."""
        texts = {id_: text_of(self.client.reply(id_)) for id_ in self.versions}
        assert set(self.client.settle().values()) == {1}
        self.client.close()
        return texts

    def _edit(self) -> bytes:
        before, self._version = self._version, self._version + 1
        start, end = ({"line": 0, "character": n} for n in (0, len(f"v{before} = ")))
        changed = {
            "textDocument": {"uri": self._uri, "version": self._version},
            "contentChanges": [{"range": {"start": start, "end": end}, "text": self._line()}],
        }
        edit = {"jsonrpc": "2.0", "method": "textDocument/didChange", "params": changed}
        return frame(json.dumps(edit).encode())

    def _question(self) -> bytes:
        id_ = self.client.next_id()
        self.versions[id_] = self._version
        params = inline_params(self._uri, 0, len(self._line()), invoked=False)
        asked = {"jsonrpc": "2.0", "id": id_, "method": INLINE_METHOD, "params": params}
        return frame(json.dumps(asked).encode())

    def _line(self) -> str:
        return f"v{self._version} = "


@pytest.fixture(params=["beside", "in place"])
def switching(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningDaemon]:
    """Its models are `old`, which is loaded, and `new`, which is held."""
    found = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [found, str(ROOT)])))
    if request.param == "in place":
        monkeypatch.setenv(NO_ROOM, "1")
    for name in ("old", "new"):
        (tmp_path / f"{name}.gguf").write_bytes(gguf_bytes.tiny().encode())
    held(tmp_path / "new.gguf").touch()
    limits = "[completion]\ndeadline_ms = 200\n"
    config = f'model = "{tmp_path}/old.gguf"\n{limits}{GREEDY}'
    with NamedDaemon(tmp_path, tmp_path, config) as daemon:
        yield daemon


def test_a_switch_answers_all_once_and_nothing_that_is_gone(switching: RunningDaemon) -> None:
    before, typing = switching.status(), Typing(switching)
    n_before = typing.type()
    new = switching.folder / "new.gguf"
    using = subprocess.Popen([LLMD, "use", str(new)], env=switching.env, stdout=subprocess.PIPE)
    wait_until(lambda: typing.type() and _is_loading(switching), "the new model is being loaded")
    n_loading = len(typing.versions)
    for _ in range(5):
        typing.type()
    n_loading_end = len(typing.versions)
    held(new).unlink()
    wait_until(lambda: typing.type() and using.poll() is not None, "it is told as done")
    assert using.communicate()[0].startswith(b"new (F16) is loaded\n")
    n_done = len(typing.versions)
    for _ in range(5):
        typing.type()
    ids, texts = [*typing.versions], typing.end()
    said = {id_: text for id_, text in texts.items() if text}
    assert {text.partition("_")[0] for text in said.values()} == {"old", "new"}
    assert said == {id_: f"{text.partition('_')[0]}_{typing.versions[id_]}"
                    for id_, text in said.items()}  # fmt: skip
    assert not typing.overtaken & set(said)
    assert all(said[id_].startswith("old") for id_ in ids[:n_before] if id_ in said)
    is_beside = switching.env.get(NO_ROOM) is None
    while_loading = {texts[id_].partition("_")[0] for id_ in ids[n_loading:n_loading_end]}
    assert while_loading == ({"old", EMPTY} if is_beside else {EMPTY})
    assert {texts[id_].partition("_")[0] for id_ in ids[n_done:]} == {"new", EMPTY}
    status = switching.status()
    assert (status["pid"], status["worker_pid"] != before["worker_pid"]) == (before["pid"], True)
    assert status["counts"]["requests"] == sum(status["counts"]["by_path"].values()) == len(ids)


@pytest.mark.parametrize("switching", ["beside"], indirect=True)
def test_what_the_old_model_said_while_the_new_one_loaded_is_not_said_again(
    switching: RunningDaemon,
) -> None:
    new = switching.folder / "new.gguf"
    switching.edit_config(f'model = "{new}"\n')
    wait_until(lambda: _is_loading(switching), "the new model is being loaded")
    with RawLsp(switching).initialize() as client:
        uri = client.open("v1 = ")
        assert _asked(client, uri) == "old_1"
        held(new).unlink()
        wait_until(lambda: not _is_loading(switching), "it is loaded")
        assert _asked(client, uri) == "new_1"


def _asked(client: RawLsp, uri: str) -> str:
    return text_of(client.reply(client.ask_inline(uri, 0, 5, invoked=False)))


def _is_loading(daemon: RunningDaemon) -> bool:
    status = daemon.status()
    return "loading" in (status["state"], status["switch"]["state"])
