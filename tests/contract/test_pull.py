"""`llmd pull` of files on a hub: the real client, in its own process, and a local hub."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from tests.support import gguf_bytes
from tests.support.daemon import wait_until
from tests.support.hub import COMMIT, Faults, Hub

from llmd.models.catalog import catalog
from llmd.models.hub_reference import HubFile
from llmd.models.pull.hub import CHUNK_BYTES
from llmd.models.pull.staging import PULL_LOCK_FILE
from llmd.models.pulled_files import LEDGER_FILE

REPO, FILE = "ann/Tiny-GGUF", "q8/tiny-q8_0.gguf"
REF = f"hf:{REPO}/{FILE}"
AGAIN = f"run `llmd pull {REF}` again"
CONTENT = gguf_bytes.tiny().encode() + random.Random(7).randbytes(3 * CHUNK_BYTES)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NO_MODEL = b"GIF89a" + bytes(1000)
MAIN = "import sys; from llmd.cli.main import main; sys.exit(main(['pull', *sys.argv[1:]]))"


class Puller:
    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub, self.models, self.hf_home = hub, folder / "models", folder / "hf_home"
        env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        self.env = env | {
            "LLMD_MODELS_DIR": str(self.models),
            "HF_HOME": str(self.hf_home),
            "OLLAMA_MODELS": str(folder / "ollama"),
            "LLAMA_CACHE": str(folder / "llama.cpp"),
            "LLMD_CONFIG": str(folder / "config.toml"),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "*",
        }

    @property
    def target(self) -> Path:
        return self.models / "hf" / REPO / FILE

    def place(self, file: HubFile) -> Path:
        return self.models / "hf" / file.repo / file.file

    def start(self, name: str = REF, before: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", before + MAIN, name],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pull(self, name: str = REF, before: str = "") -> tuple[int, str, str]:
        """Returns the exit code, standard output, and the last line of standard error."""
        pull = self.start(name, before)
        out, err = pull.communicate(timeout=60)
        assert "Traceback" not in err
        return pull.returncode, out.strip(), err.strip().split("\n")[-1]

    def refusal(self, name: str = REF, before: str = "") -> str:
        code, out, last = self.pull(name, before)
        assert (code, out) == (1, "")
        assert last.startswith("llmd: ")
        return last.removeprefix("llmd: ")

    def left(self) -> set[str]:
        """Returns the names of the files in the models folder, except the lock and the ledger."""
        ours = {PULL_LOCK_FILE, LEDGER_FILE}
        return {path.name for path in self.models.rglob("*") if path.is_file()} - ours

    def n_partial_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.models.rglob(".partial-*"))

    def interrupt(self, with_signal: signal.Signals) -> int:
        """Ends a pull after two thirds of the download, and returns the exit code."""
        self.hub.faults = Faults(stall_after_bytes=2 * CHUNK_BYTES + 1000)
        with self.start() as pull:
            wait_until(self.hub.has_stalled.is_set, "the download stalls")
            wait_until(lambda: self.n_partial_bytes() >= 2 * CHUNK_BYTES, "two chunks are written")
            assert not self.target.exists()
            time.sleep(0.3)  # it waits for the rest by now
            pull.send_signal(with_signal)
            pull.communicate(timeout=60)
        self.hub.release.set()
        return pull.returncode


def entry_file(name: str) -> HubFile:
    source = catalog()[name].variants[0].source
    assert isinstance(source, HubFile)
    return source


@pytest.fixture
def puller(tmp_path: Path) -> Iterator[Puller]:
    with Hub(files={f"{REPO}/{FILE}": CONTENT}) as hub:
        yield Puller(hub, tmp_path)


def test_a_pull_downloads_the_complete_file_and_nothing_else(puller: Puller) -> None:
    code, out, last = puller.pull()
    assert (code, out, last) == (0, str(puller.target), f"{REF}: checking 100 %")
    assert puller.target.read_bytes() == CONTENT
    assert puller.left() == {puller.target.name}
    assert not puller.hf_home.exists()
    assert puller.hub.downloads() == [""]


def test_without_a_terminal_each_tenth_prints_a_line(puller: Puller) -> None:
    with puller.start() as pull:
        _, err = pull.communicate(timeout=60)
    lines = err.splitlines()
    assert all(re.fullmatch(rf"{re.escape(REF)}: \w+( \d+0 %)?", line) for line in lines), lines
    assert f"{REF}: downloading 100 %" in lines
    assert len(lines) == len(set(lines)) >= 6


def test_a_terminal_shows_a_bar_and_bytes(puller: Puller) -> None:
    ours, theirs = pty.openpty()
    env = puller.env | {"TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", MAIN, REF]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=theirs) as pull:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO, where the other end is closed
            while chunk := os.read(ours, 1 << 16):
                shown += chunk
    os.close(ours)
    assert pull.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert re.search(r"checking ━+ 3\.2/3\.2 MB", text)
    assert "%" not in text


def test_an_installed_file_is_not_requested_again(puller: Puller) -> None:
    for place in (puller.target, starcoder := puller.place(entry_file("starcoder2-3b"))):
        place.parent.mkdir(parents=True)
        place.write_bytes(b"what an earlier pull has checked")
    assert puller.pull() == (0, str(puller.target), "")
    assert puller.pull("starcoder2-3b") == (0, str(starcoder), "")
    assert puller.hub.requests == []


def test_a_lost_connection_is_resumed_within_one_pull(puller: Puller) -> None:
    puller.hub.faults = Faults(cut_after_bytes=CHUNK_BYTES + 1000)
    with puller.start() as pull:
        _, err = pull.communicate(timeout=60)
    assert pull.returncode == 0
    assert "http" not in err  # The hub's store signs its addresses.
    assert puller.target.read_bytes() == CONTENT
    assert puller.hub.downloads() == ["", f"bytes={CHUNK_BYTES}-"]


def test_a_reset_connection_is_reported_and_resumed_by_the_next_pull(puller: Puller) -> None:
    puller.hub.faults = Faults(cut_after_bytes=CHUNK_BYTES + 1000, is_reset=True)
    assert puller.refusal() == (
        f"Hub `{puller.hub.endpoint}` cannot be reached, or the connection failed (ReadError);"
        f" check the network, then {AGAIN} to resume the download"
    )
    assert not puller.target.exists()
    assert puller.pull()[0] == 0
    assert puller.target.read_bytes() == CONTENT
    assert puller.hub.downloads() == ["", f"bytes={CHUNK_BYTES}-"]


@pytest.mark.parametrize(
    ("with_signal", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["ctrl-c", "terminated", "killed"],
)
def test_the_next_pull_resumes_an_interrupted_one(
    puller: Puller, with_signal: signal.Signals, code: int
) -> None:
    """Row 35, for a pull: the old file or the new file, never a mixture."""
    assert puller.interrupt(with_signal) == code
    assert not puller.target.exists()
    assert puller.pull()[0] == 0
    assert puller.target.read_bytes() == CONTENT
    assert puller.left() == {puller.target.name}
    assert puller.hub.downloads() == ["", f"bytes={2 * CHUNK_BYTES}-"]


def test_a_hub_without_ranges_is_read_from_the_start(puller: Puller) -> None:
    puller.interrupt(signal.SIGKILL)
    puller.hub.faults = Faults(ignores_range=True)
    assert puller.pull()[0] == 0
    assert puller.target.read_bytes() == CONTENT


def test_another_file_of_the_same_name_is_not_resumed(puller: Puller) -> None:
    puller.interrupt(signal.SIGKILL)
    other = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    puller.hub.files[f"{REPO}/{FILE}"] = other
    assert puller.pull()[0] == 0
    assert puller.target.read_bytes() == other
    assert puller.left() == {puller.target.name}
    assert puller.hub.downloads() == ["", ""]


@pytest.mark.parametrize(
    "change",
    [lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: bytes(len(b))],
    ids=["row 30, one bit", "row 30, all of it"],
)
def test_content_with_another_hash_is_rejected_and_removed(puller: Puller, change: object) -> None:
    assert callable(change)
    served = change(CONTENT)
    puller.hub.served[f"{REPO}/{FILE}"] = served
    sha256 = hashlib.sha256(served).hexdigest()
    assert puller.refusal() == (
        f"File `{FILE}` of `{REPO}` was downloaded with SHA-256 {sha256}, "
        f"expected {SHA256}; the download was removed, {AGAIN}"
    )
    assert puller.left() == set()


@pytest.mark.parametrize("n_more", [1, CHUNK_BYTES, 20 * CHUNK_BYTES])
def test_no_more_bytes_are_taken_than_announced(puller: Puller, n_more: int) -> None:
    puller.hub.served[f"{REPO}/{FILE}"] = CONTENT + bytes(n_more)
    said = puller.refusal()
    assert f"is longer than the {len(CONTENT)} bytes that the hub announced" in said
    assert puller.left() == set()


@pytest.mark.parametrize("size", [0, -1, -(1 << 40)])
def test_a_size_below_one_is_refused(puller: Puller, size: int) -> None:
    puller.hub.faults = Faults(size=size)
    assert f"has {size} bytes on the hub" in puller.refusal() or not size
    assert puller.hub.downloads() == []
    assert puller.left() == set()


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "x-\u00e9vil"])
def test_a_body_with_an_encoding_that_was_not_asked_for_is_refused(
    puller: Puller, encoding: str
) -> None:
    puller.hub.faults = Faults(encoding=encoding)
    assert "is sent compressed (" in puller.refusal()
    assert puller.n_partial_bytes() == 0


def test_a_damaged_partial_file_is_downloaded_again(puller: Puller) -> None:
    """Row 30."""
    puller.interrupt(signal.SIGKILL)
    (partial,) = puller.models.rglob(".partial-*")
    partial.write_bytes(bytes(2 * CHUNK_BYTES))
    assert "was downloaded with SHA-256" in puller.refusal()
    assert puller.pull()[0] == 0
    assert puller.target.read_bytes() == CONTENT


def test_a_partial_file_that_is_too_long_is_downloaded_again(puller: Puller) -> None:
    puller.interrupt(signal.SIGKILL)
    (partial,) = puller.models.rglob(".partial-*")
    partial.write_bytes(CONTENT + b"more")
    assert puller.pull()[0] == 0
    assert puller.target.read_bytes() == CONTENT


def test_a_file_that_is_not_a_model_is_rejected_and_removed(puller: Puller) -> None:
    puller.hub.files[f"{REPO}/{FILE}"] = NO_MODEL
    assert puller.refusal().startswith(
        f"File `{FILE}` of `{REPO}` is not a model for llmd, and was removed: "
    )
    assert puller.left() == set()


def test_a_catalog_file_that_the_hub_has_changed_is_not_downloaded(puller: Puller) -> None:
    """Row 30."""
    entry = entry_file("qwen2.5-coder-0.5b")
    puller.hub.files[f"{entry.repo}/{entry.file}"] = CONTENT
    puller.hub.revisions.add(entry.revision)
    assert puller.refusal(entry.name) == (
        f"File `{entry.file}` of `{entry.repo}` has SHA-256 {SHA256} on the hub, expected "
        f"{entry.sha256}; if you trust the file on the hub, run `llmd pull {entry.ref}`"
    )
    assert puller.hub.downloads() == []


def test_a_pull_by_name_prints_the_licence(puller: Puller) -> None:
    entry = entry_file("starcoder2-3b")
    puller.hub.files[f"{entry.repo}/{entry.file}"] = CONTENT
    with puller.start(entry.name) as pull:
        out, err = pull.communicate(timeout=60)
    place = puller.place(entry)
    assert (pull.returncode, out) == (0, f"{place}\n")
    assert err.startswith("starcoder2-3b: Q8_0, 3.2 GB, licence BigCode OpenRAIL-M\n")
    assert place.read_bytes() == CONTENT


def test_two_pulls_at_once_download_once(puller: Puller) -> None:
    puller.hub.faults = Faults(stall_after_bytes=CHUNK_BYTES)
    with puller.start() as first:
        wait_until(puller.hub.has_stalled.is_set, "the download stalls")
        with puller.start() as other:
            assert other.stderr is not None
            assert other.stderr.readline() == f"{REF}: waiting for another pull\n"
            puller.hub.release.set()
            outputs = first.communicate(timeout=60)[0], other.communicate(timeout=60)[0]
    assert (first.returncode, other.returncode) == (0, 0)
    assert outputs == (f"{puller.target}\n",) * 2
    assert puller.hub.downloads() == [""]


def test_the_token_goes_to_the_hub_and_not_to_its_store(puller: Puller) -> None:
    puller.hub.gated.add(REPO)
    puller.env["HF_TOKEN"] = "hf_secret"  # noqa: S105
    assert puller.pull()[0] == 0
    seen = {(r.is_of_store, r.authorization) for r in puller.hub.requests}
    assert seen == {(False, "Bearer hf_secret"), (True, "")}


def test_the_hub_gets_only_versions(puller: Puller) -> None:
    """By default the client also sends the version of torch, and the name of a tool."""
    puller.env["AI_AGENT"] = "sometool"
    puller.pull()
    agents = {re.sub(r"/[^;]*", "", request.user_agent) for request in puller.hub.requests}
    assert agents == {"unknown; hf_hub; python", "llmd; hf_hub; python"}


@pytest.mark.parametrize(
    ("name", "faults", "expected"),
    [
        (
            "hf:ann/None-GGUF/x.gguf",
            Faults(),
            "Repository `ann/None-GGUF` is not on the hub, or is private; check the name, or set "
            "HF_TOKEN",
        ),
        (
            f"hf:{REPO}/none.gguf",
            Faults(),
            f"Repository `{REPO}` has no file `none.gguf`; check the file name on the hub",
        ),
        (
            "hf:ann/Gated-GGUF/x.gguf",
            Faults(),
            "Repository `ann/Gated-GGUF` is gated; accept its licence on the hub, set HF_TOKEN, "
            "then run `llmd pull hf:ann/Gated-GGUF/x.gguf` again",
        ),
        (
            REF,
            Faults(status=503),
            f"Hub returned status 503 for `{FILE}` of `{REPO}`; wait, then {AGAIN}",
        ),
        (
            REF,
            Faults(status=403),
            f"Hub returned status 403 for `{FILE}` of `{REPO}`; check HF_TOKEN, then {AGAIN}",
        ),
        (
            REF,
            Faults(etag="0" * 40),
            f"File `{FILE}` of `{REPO}` has no SHA-256 on the hub, so llmd cannot verify the file; "
            "choose another",
        ),
        (
            "qwen2.5-coder-3b",
            Faults(),
            "Repository `ggml-org/Qwen2.5-Coder-3B-Q8_0-GGUF` has no revision "
            "9c1de162ae417c9c3aacde97c729c4128de047d8 any more; run `llmd pull "
            "hf:ggml-org/Qwen2.5-Coder-3B-Q8_0-GGUF/qwen2.5-coder-3b-q8_0.gguf` for the newest "
            "file",
        ),
    ],
    ids=["no repository", "no file", "gated", "down", "forbidden", "no hash", "no revision"],
)
def test_a_refusal_of_the_hub_is_one_sentence(
    puller: Puller, name: str, faults: Faults, expected: str
) -> None:
    puller.hub.gated.add("ann/Gated-GGUF")
    entry = entry_file("qwen2.5-coder-3b")
    puller.hub.files |= {"ann/Gated-GGUF/x.gguf": b"", f"{entry.repo}/{entry.file}": b""}
    puller.hub.faults = faults
    assert puller.refusal(name) == expected
    assert puller.left() == set()


def test_a_missing_network_is_reported(puller: Puller) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        puller.env["HF_ENDPOINT"] = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert puller.refusal() == (
            f"Hub `{puller.env['HF_ENDPOINT']}` cannot be reached, or the connection failed "
            f"(ConnectError); check the network, then {AGAIN} to resume the download"
        )


def test_an_invalid_endpoint_is_reported(puller: Puller) -> None:
    puller.env["HF_ENDPOINT"] = "http://["
    expected = (
        "HF_ENDPOINT is `http://[`, expected the https:// address of a hub; correct or unset it"
    )
    assert puller.pull() == (2, "", f"llmd: {expected}")


def test_a_host_that_does_not_exist_is_reported(puller: Puller) -> None:
    puller.env["HF_ENDPOINT"] = "http://a..b"
    assert puller.refusal().startswith(
        "Hub `http://a..b` cannot be reached, or the connection failed ("
    )


def test_a_proxy_that_the_client_cannot_use_is_reported(puller: Puller) -> None:
    puller.env |= {"ALL_PROXY": "socks5://127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""}
    assert puller.refusal() == (
        f"Proxy in ALL_PROXY is SOCKS, expected HTTP; set an HTTP proxy, then {AGAIN}"
    )


def test_offline_mode_is_reported_without_requests(puller: Puller) -> None:
    puller.env["HF_HUB_OFFLINE"] = "1"
    assert puller.refusal() == (
        f"Model `{REF}` is not on this machine and HF_HUB_OFFLINE is set; unset HF_HUB_OFFLINE, "
        f"then {AGAIN}"
    )
    assert puller.hub.requests == []


def test_a_disk_with_too_little_space_is_reported_before_the_download(puller: Puller) -> None:
    """Row 34."""
    before = (
        "import shutil, types\n"
        "shutil.disk_usage = lambda _: types.SimpleNamespace(free=1_500_000)\n"
    )
    assert puller.refusal(before=before) == (
        f"Model `{REF}` needs 3 MB, but `{puller.target.parent}` has 2 MB free; free some space, "
        "or set LLMD_MODELS_DIR to a folder on a larger disk"
    )
    assert puller.hub.downloads() == []


def test_space_for_the_missing_bytes_is_enough(puller: Puller) -> None:
    puller.interrupt(signal.SIGKILL)
    before = (
        "import shutil, types\n"
        f"shutil.disk_usage = lambda _: types.SimpleNamespace(free={CHUNK_BYTES + 40_000})\n"
    )
    assert puller.pull(before=before)[0] == 0


def test_a_disk_that_fills_up_is_reported_and_the_download_resumed(puller: Puller) -> None:
    """Row 34."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({CHUNK_BYTES},) * 2)\n"
    assert puller.refusal(before=limit) == (
        f"Model `{REF}` cannot be saved in `{puller.target.parent}`: File too large; check that "
        f"the folder is writable and has enough free space, then {AGAIN}"
    )
    assert not puller.target.exists()
    assert puller.pull()[0] == 0
    assert puller.target.read_bytes() == CONTENT
    assert puller.hub.downloads() == ["", f"bytes={CHUNK_BYTES}-"]


def test_a_folder_that_is_not_writable_is_reported(puller: Puller) -> None:
    """Row 36."""
    puller.models.touch()
    assert puller.refusal() == (
        f"Model `{REF}` cannot be saved in `{puller.target.parent}`: Not a directory; check that "
        f"the folder is writable and has enough free space, then {AGAIN}"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./m.gguf", "Model file `m.gguf` does not exist; name a GGUF file"),
        (
            "qwen2.5-coder-1.5",
            "Model `qwen2.5-coder-1.5` is unknown, expected a name that `llmd models` shows, "
            "hf:OWNER/REPO/FILE.gguf or a GGUF file; did you mean `qwen2.5-coder-1.5b`?",
        ),
        (
            "qwen2.5-coder-14b:Q9",
            "Model `qwen2.5-coder-14b` has no quantisation `Q9`, expected Q4_K_M, Q5_K_M, Q6_K, "
            "Q8_0",
        ),
        (
            "hf:../../x.gguf",
            "Model reference `hf:../../x.gguf` has the invalid owner or repository name "
            "`..`; expected hf:OWNER/REPO/FILE.gguf",
        ),
    ],
)
def test_an_invalid_name_is_bad_input(puller: Puller, name: str, expected: str) -> None:
    assert puller.pull(name) == (2, "", f"llmd: {expected}")
    assert puller.hub.requests == []


def test_the_commit_is_fixed_during_a_download(puller: Puller) -> None:
    puller.pull()
    paths = [r.path for r in puller.hub.requests if not r.is_of_store]
    assert paths == [f"/{REPO}/resolve/{revision}/{FILE}" for revision in ("main", COMMIT)]


# -- models in several parts


def part(no: int, n_parts: int = 3) -> bytes:
    """Returns one part of a split model; the first part holds the metadata."""
    changes = {
        "split.no": gguf_bytes.number(gguf_bytes.U16, no),
        "split.count": gguf_bytes.number(gguf_bytes.U16, n_parts),
    }
    tensors, n_bytes = gguf_bytes.placed({f"p{no}": (32,)})
    first = gguf_bytes.tiny(changes)
    other = gguf_bytes.Gguf([*changes.items()], tensors, bytes(n_bytes))
    return (other if no else first).encode() + random.Random(no).randbytes(CHUNK_BYTES)


SPLIT = [f"big/m-{no:05}-of-00003.gguf" for no in (1, 2, 3)]
SPLIT_REF = f"hf:{REPO}/{SPLIT[0]}"


@pytest.fixture
def split(puller: Puller) -> Puller:
    puller.hub.files |= {f"{REPO}/{file}": part(no) for no, file in enumerate(SPLIT)}
    return puller


def places(puller: Puller) -> list[Path]:
    return [puller.models / "hf" / REPO / file for file in SPLIT]


def test_all_parts_of_a_model_are_downloaded(split: Puller) -> None:
    code, out, _ = split.pull(SPLIT_REF)
    assert (code, out) == (0, str(places(split)[0]))
    assert [place.read_bytes() for place in places(split)] == [part(no) for no in range(3)]
    assert split.left() == {place.name for place in places(split)}
    assert split.hub.downloads() == ["", "", ""]


def test_only_the_missing_part_is_downloaded(split: Puller) -> None:
    assert split.pull(SPLIT_REF)[0] == 0
    places(split)[1].unlink()
    assert split.pull(SPLIT_REF)[0] == 0
    assert places(split)[1].read_bytes() == part(1)
    assert split.hub.downloads() == ["", "", "", ""]


def test_without_all_its_parts_a_model_does_not_appear(split: Puller) -> None:
    split.hub.served[f"{REPO}/{SPLIT[1]}"] = bytes(len(part(1)))
    assert "was downloaded with SHA-256" in split.refusal(SPLIT_REF)
    assert not places(split)[0].exists()
    split.hub.served.clear()
    assert split.pull(SPLIT_REF)[0] == 0
    assert places(split)[1].read_bytes() == part(1)


def test_a_later_part_is_rejected_with_the_name_of_the_first(puller: Puller) -> None:
    code, _, last = puller.pull(f"hf:{REPO}/{SPLIT[1]}")
    assert code == 2
    assert "names part 2 of 3; name the first part `m-00001-of-00003.gguf`" in last


def test_parts_are_downloaded_at_the_same_time(split: Puller) -> None:
    """A part that stalls does not delay the others."""
    split.hub.faults = Faults(stall_after_bytes=1000)
    with split.start(SPLIT_REF) as pull:
        wait_until(split.hub.has_stalled.is_set, "one part stalls")
        n_others = 2 * CHUNK_BYTES
        wait_until(lambda: split.n_partial_bytes() >= n_others, "the others are written")
        split.hub.release.set()
        pull.communicate(timeout=60)
    assert pull.returncode == 0


def test_ctrl_c_does_not_wait_for_parts(split: Puller) -> None:
    split.hub.faults = Faults(stall_after_bytes=1000)
    with split.start(SPLIT_REF) as pull:
        wait_until(lambda: split.n_partial_bytes() >= 2 * CHUNK_BYTES, "two parts are written")
        pull.send_signal(signal.SIGINT)
        pull.communicate(timeout=5)  # the client waits 10 s for a line
    assert pull.returncode == 130
    split.hub.release.set()
    assert split.pull(SPLIT_REF)[0] == 0
    assert [place.read_bytes() for place in places(split)] == [part(no) for no in range(3)]


def has_written(puller: Puller, n_bytes: int) -> bool:
    return puller.n_partial_bytes() >= n_bytes


def test_a_pull_that_is_killed_ten_times_ends_with_the_right_hash(puller: Puller) -> None:
    """Kills at random points, some of them inside the first chunk."""
    rng = random.Random(3407)
    content = gguf_bytes.tiny().encode() + rng.randbytes(24 * CHUNK_BYTES)
    puller.hub.files[f"{REPO}/{FILE}"] = content
    n_here, starts = 0, []
    for _ in range(10):
        stop = rng.randrange(1, 3 * CHUNK_BYTES)
        puller.hub.faults = Faults(stall_after_bytes=stop)
        puller.hub.has_stalled.clear()
        puller.hub.release.clear()
        with puller.start() as pull:
            wait_until(puller.hub.has_stalled.is_set, "the download stalls")
            due = n_here + stop // CHUNK_BYTES * CHUNK_BYTES
            wait_until(partial(has_written, puller, due), "its chunks are written")
            pull.kill()
            pull.communicate(timeout=60)
        puller.hub.release.set()
        starts.append(n_here)
        assert not puller.target.exists()
        assert puller.n_partial_bytes() >= n_here, "nothing is begun again"
        n_here = puller.n_partial_bytes()
    assert puller.pull()[0] == 0
    assert hashlib.sha256(puller.target.read_bytes()).digest() == hashlib.sha256(content).digest()
    assert puller.hub.downloads() == [f"bytes={n}-" if n else "" for n in (*starts, n_here)]


# -- models that are already on this machine


def test_a_user_s_own_file_stays_in_place(puller: Puller, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(CONTENT)
    assert puller.pull(str(mine))[:2] == (0, str(mine))
    assert (puller.left(), puller.hub.requests) == (set(), [])
    records = json.loads((puller.models / LEDGER_FILE).read_text())
    assert records == [{"path": str(mine), "sha256": SHA256, "n_bytes": len(CONTENT)}]
    mine.write_bytes(NO_MODEL)
    assert "is not GGUF" in puller.refusal(str(mine))


@pytest.mark.parametrize("owner", ["hub", "llama.cpp"])
def test_a_file_of_another_program_is_used_in_place(
    puller: Puller, tmp_path: Path, owner: str
) -> None:
    place = {
        "hub": puller.hf_home / "hub" / "models--ann--Tiny-GGUF" / "snapshots" / COMMIT / FILE,
        "llama.cpp": tmp_path / "llama.cpp" / f"{REPO}/{FILE}".replace("/", "_"),
    }[owner]
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    message = f"{REF}: is already on this machine, and is used in place"
    assert puller.pull() == (0, str(place), message)
    assert (puller.left(), puller.hub.requests) == (set(), [])


def test_a_blob_of_ollama_is_used_for_a_file_with_the_same_hash(
    puller: Puller, tmp_path: Path
) -> None:
    entry = entry_file("qwen2.5-coder-0.5b")
    blob = tmp_path / "ollama" / "blobs" / f"sha256-{entry.sha256}"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(CONTENT)
    assert puller.pull(entry.name)[:2] == (0, str(blob))
    assert puller.hub.requests == []


def test_adapters_are_pulled_with_the_model(puller: Puller, tmp_path: Path) -> None:
    lora = gguf_bytes.tiny({"general.type": gguf_bytes.string("adapter")}).encode()
    puller.hub.files["bob/Lora/l.gguf"] = lora
    (tmp_path / "catalog.toml").write_text(
        f"""[mine]
files = [{{ repo = "{REPO}", file = "{FILE}", quantisations = ["Q8_0"] }}]
adapters = [{{ file = "hf:bob/Lora/l.gguf", scale = 0.5 }}]
"""
    )
    assert puller.pull("mine")[:2] == (0, str(puller.target))
    assert (puller.models / "hf/bob/Lora/l.gguf").read_bytes() == lora
