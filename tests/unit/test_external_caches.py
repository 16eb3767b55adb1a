"""Models of Ollama, of llama.cpp's cache and of the hub's client: found, named and used in place;
and the listing, verification and removal of installed models."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import gguf_bytes

from llmd.cli.models_text import overview
from llmd.config import EngineConfig
from llmd.errors import BadInput, ModelError
from llmd.models import (
    external_caches,
    listing,
    measured_speed,
    pulled_files,
    remove_verify,
    resolve,
)
from llmd.models.catalog import catalog
from llmd.models.hub_reference import HubFile, parse_ref
from llmd.models.memory_plan import DescribedMachine
from llmd.models.pull.local_file import pull_local_file
from llmd.models.recommend import HostResources

MODEL = gguf_bytes.tiny().encode()
SHA256 = hashlib.sha256(MODEL).hexdigest()
ROOM = HostResources(DescribedMachine("cpu", 2, 0, 8 << 30, 6 << 30), 20e9)
COMMIT = "c0ffee" + "0" * 34


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable, name in (
        ("LLMD_MODELS_DIR", "models"), ("LLMD_CONFIG", "config.toml"), ("LLMD_STATE_DIR", "state"),
        ("LLAMA_CACHE", "llama.cpp"), ("OLLAMA_MODELS", "ollama"),
    ):  # fmt: skip
        monkeypatch.setenv(variable, str(tmp_path / name))
    # The client reads HF_HOME once, when it is imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf/hub"))
    return tmp_path


def write(path: Path, content: bytes = MODEL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def ollama(home: Path, place: str, sha256: str = SHA256, content: bytes = MODEL) -> Path:
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": f"sha256:{'0' * 64}"},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{sha256}"},
    ]
    write(home / "ollama/manifests" / place, json.dumps({"layers": layers}).encode())
    return write(home / "ollama/blobs" / f"sha256-{sha256}", content)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("registry.ollama.ai/library/qwen2.5-coder/1.5b-base", "ollama:qwen2.5-coder:1.5b-base"),
        ("registry.ollama.ai/ann/mine/latest", "ollama:ann/mine:latest"),
        ("hf.co/ann/Tiny-GGUF/Q8_0", "ollama:hf.co/ann/Tiny-GGUF:Q8_0"),
    ],
)
def test_a_model_of_ollama_has_ollama_s_name(home: Path, place: str, name: str) -> None:
    blob = ollama(home, place)
    (model,) = external_caches.external_models()
    assert (model.name, model.path, model.owner, model.sha256) == (name, blob, "Ollama", SHA256)
    assert resolve.model_path(name) == blob
    assert resolve.pull_source(name) == blob
    if name.endswith(":latest"):
        assert resolve.model_path(name.removesuffix(":latest")) == blob


OUTSIDE = b"""{"layers": [{"mediaType": "application/vnd.ollama.image.model",
 "digest": "sha256:../../../etc/passwd"}]}"""


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"layers": [{}]}', OUTSIDE])
def test_an_invalid_manifest_is_ignored(home: Path, text: bytes) -> None:
    write(home / "ollama/manifests/registry.ollama.ai/library/m/latest", text)
    assert external_caches.external_models() == []


def test_a_model_of_llama_cpp_s_cache_has_the_name_of_the_file(home: Path) -> None:
    path = write(home / "llama.cpp/ann_Tiny-GGUF_t.gguf")
    write(home / "llama.cpp/ann_Tiny-GGUF_u.gguf.downloadInProgress")
    write(home / "llama.cpp/ann_Tiny-GGUF_mmproj-f16.gguf")
    write(home / "llama.cpp/big-00002-of-00002.gguf")
    assert [model.name for model in external_caches.external_models()] == [
        "llama.cpp:ann_Tiny-GGUF_t.gguf"
    ]
    assert resolve.model_path("llama.cpp:ann_Tiny-GGUF_t.gguf") == path
    assert resolve.model_path("hf:ann/Tiny-GGUF/t.gguf") == path
    with pytest.raises(ModelError, match="`llmd models` lists the models that are"):
        resolve.model_path("llama.cpp:none.gguf")


def hub_cache(home: Path, commit: str = COMMIT, name: str = "models--ann--Tiny-GGUF") -> Path:
    """Writes a file as the hub's client does: a link to a blob that is named by the hash."""
    repo = home / "hf/hub" / name
    path = repo / "snapshots" / commit / "q8/t.gguf"
    path.parent.mkdir(parents=True)
    path.symlink_to(write(repo / "blobs" / SHA256))
    return path


def test_a_file_of_the_hub_s_client_is_named_by_its_reference(home: Path) -> None:
    path = hub_cache(home)
    (model,) = external_caches.external_models()
    assert (model.name, model.sha256) == ("hf:ann/Tiny-GGUF/q8/t.gguf", SHA256)
    assert resolve.model_path(model.name) == path
    pinned = HubFile("x", "ann/Tiny-GGUF", "q8/t.gguf", "0" * 40)
    assert external_caches.find_hub_file(pinned) is None, "another commit may have another content"


def test_of_two_revisions_in_the_client_s_cache_the_newest_is_taken(home: Path) -> None:
    old, new = hub_cache(home, "0" * 40), hub_cache(home, "1" * 40)
    old.unlink()
    old.symlink_to(write(old.parents[3] / "blobs/old"))
    os.utime(old, (1, 1))
    os.utime(old.parents[1], (1, 1))
    assert [model.path for model in external_caches.external_models()] == [new]
    assert resolve.model_path("hf:ann/Tiny-GGUF/q8/t.gguf") == new


@pytest.mark.parametrize("name", ["datasets--ann--Tiny", "models--tiny", ".locks", "x"])
def test_a_repository_without_a_valid_reference_is_ignored(home: Path, name: str) -> None:
    hub_cache(home, name=name)
    assert external_caches.external_models() == []


def test_a_wrong_endpoint_does_not_fail_a_look_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_cache(home)
    monkeypatch.setenv("HF_ENDPOINT", "http://[")
    assert external_caches.external_models() == []
    with pytest.raises(ModelError, match=r"run `llmd pull hf:ann/Tiny-GGUF/q8/t.gguf`"):
        resolve.model_path("hf:ann/Tiny-GGUF/q8/t.gguf")


def test_a_pulled_model_is_found_without_the_hub_s_client(home: Path) -> None:
    write(home / "models/hf/ann/Tiny-GGUF/t.gguf")
    code = (
        "import sys; from llmd.models.resolve import resolve_model"
        "; resolve_model('hf:ann/Tiny-GGUF/t.gguf'); print('huggingface_hub' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_model_in_parts_needs_all_parts(home: Path) -> None:
    file = parse_ref("hf:a/b/m-00001-of-00002.gguf")
    first = write(home / "llama.cpp/a_b_m-00001-of-00002.gguf")
    assert external_caches.find_hub_file(file) is None
    write(home / "llama.cpp/a_b_m-00002-of-00002.gguf")
    assert external_caches.find_hub_file(file) == first


def test_a_pulled_file_comes_before_that_of_another_program(home: Path) -> None:
    write(home / "llama.cpp/ann_Tiny-GGUF_t.gguf")
    mine = write(home / "models/hf/ann/Tiny-GGUF/t.gguf")
    assert resolve.model_path("hf:ann/Tiny-GGUF/t.gguf") == mine


def all_kinds(home: Path) -> dict[str, Path]:
    star = catalog()["starcoder2-3b"].variants[1].source
    assert isinstance(star, HubFile)
    own = write(home / "own.gguf")
    pull_local_file(own)
    return {
        "starcoder2-3b:Q4_K_M": write(resolve.pulled_path(star)),
        "hf:ann/Tiny-GGUF/t.gguf": write(home / "models/hf/ann/Tiny-GGUF/t.gguf"),
        str(own): own,
        "ollama:m:latest": ollama(home, "registry.ollama.ai/library/m/latest"),
    }


def test_the_table_has_installed_and_available_models(home: Path) -> None:
    kinds = all_kinds(home)
    write(home / "models/hf/ann/Tiny-GGUF/.partial-0123456789ab-x.gguf")
    bad = write(home / "models/hf/ann/Bad/b.gguf", b"no model")
    measured_speed.record(kinds["starcoder2-3b:Q4_K_M"], 42.42)
    lines = {line.name: line for line in listing.installed_rows(ROOM, EngineConfig())}
    assert lines.keys() == {*kinds, "hf:ann/Bad/b.gguf"}
    assert {name: line.path for name, line in lines.items() if name in kinds} == {
        name: str(path) for name, path in kinds.items()
    }
    star = lines["starcoder2-3b:Q4_K_M"]
    assert (star.family, star.licence) == ("starcoder", "BigCode OpenRAIL-M")
    assert star.measured_tokens_per_s == 42.4
    assert f"`{bad}` is not GGUF" in lines["hf:ann/Bad/b.gguf"].problem
    to_pull = listing.pullable_rows(ROOM, EngineConfig())
    names = [line.name.partition(":")[0] for line in to_pull]
    assert names == ["builtin", *catalog()]
    text = overview([*lines.values()], to_pull, str(kinds["starcoder2-3b:Q4_K_M"]))
    (marked,) = (line for line in text.splitlines() if line.startswith("*"))
    assert "starcoder2-3b:Q4_K_M" in marked
    assert "42 measured" in marked
    assert "\nhf:ann/Bad/b.gguf: Model file" in text


def test_each_name_in_the_table_is_what_use_takes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the catalog have the catalog's name, and the home folder is `~`."""
    monkeypatch.setenv("HOME", str(home))
    first = catalog()["starcoder2-3b"].variants[0].source
    assert isinstance(first, HubFile)
    cached = home / "hf/hub" / f"models--{first.repo.replace('/', '--')}" / "snapshots" / COMMIT
    places = {
        **all_kinds(home),
        "starcoder2-3b:Q8_0": write(cached / first.file),
        "llama.cpp:a.gguf": write(home / "llama.cpp/a.gguf"),
        "builtin": write(resolve.builtin_path()),
    }
    rows = listing.installed_rows(ROOM, EngineConfig())
    assert {row.name: row.path for row in rows} == {n: str(p) for n, p in places.items()}
    table = overview(rows, []).split("\n\n")[0].splitlines()[2:]
    names = [line.split()[0] for line in table]
    assert sorted(names) == sorted({*places} - {str(home / "own.gguf")} | {"~/own.gguf"})
    assert {resolve.model_path(name) for name in names} == {*places.values()}


def test_a_model_that_two_programs_have_is_listed_once(home: Path) -> None:
    hub_cache(home)
    mine = write(home / "models/hf/ann/Tiny-GGUF/q8/t.gguf")
    assert [(m.name, m.path) for m in listing.installed_models()] == [
        ("hf:ann/Tiny-GGUF/q8/t.gguf", mine)
    ]


def test_a_model_is_verified_by_the_hash_of_the_pull(home: Path) -> None:
    kinds = all_kinds(home)
    problems = {model.name: remove_verify.verify(model) for model in listing.installed_models()}
    assert problems == dict.fromkeys(kinds, "") | {
        "hf:ann/Tiny-GGUF/t.gguf": "unknown", "starcoder2-3b:Q4_K_M": "unknown",
    }  # fmt: skip
    pulled_files.add(kinds["hf:ann/Tiny-GGUF/t.gguf"], SHA256, len(MODEL))
    assert remove_verify.verify(remove_verify.find_installed("hf:ann/Tiny-GGUF/t.gguf")) == ""
    for name in ("hf:ann/Tiny-GGUF/t.gguf", str(home / "own.gguf"), "ollama:m:latest"):
        write(kinds[name], MODEL[:-1] + b"x")
        got = hashlib.sha256(MODEL[:-1] + b"x").hexdigest()
        place = kinds[name].name
        assert (
            remove_verify.verify(remove_verify.find_installed(name))
            == f"`{place}` has SHA-256 {got}, expected {SHA256}"
        )


def test_a_pulled_model_is_removed_with_its_folders_and_its_hash(home: Path) -> None:
    kinds = all_kinds(home)
    path = kinds["hf:ann/Tiny-GGUF/t.gguf"]
    rest = write(path.with_name(".partial-0123456789ab-t.gguf"), b"1234")
    pulled_files.add(path, SHA256, len(MODEL))
    assert remove_verify.remove("hf:ann/Tiny-GGUF/t.gguf", None) == (len(MODEL) + 4, [path, rest])
    assert not path.parent.parent.exists()
    assert pulled_files.find_record(path) is None
    assert kinds["starcoder2-3b:Q4_K_M"].exists()


def test_a_user_s_own_file_is_only_unregistered(home: Path) -> None:
    own = all_kinds(home)[str(home / "own.gguf")]
    assert remove_verify.remove(str(own), None) == (0, [])
    assert own.exists()
    with pytest.raises(BadInput, match="is not on this machine"):
        remove_verify.find_installed(str(own))


def test_a_model_in_use_or_of_another_program_is_not_removed(home: Path) -> None:
    kinds = all_kinds(home)
    name = "hf:ann/Tiny-GGUF/t.gguf"
    with pytest.raises(BadInput, match="is in use; run `llmd use` with another model first"):
        remove_verify.remove(name, kinds[name])
    with pytest.raises(BadInput, match=r"belongs to Ollama; run `ollama rm m:latest`"):
        remove_verify.remove("ollama:m:latest", None)
    with pytest.raises(BadInput, match="is not on this machine"):
        remove_verify.remove("qwen2.5-coder-7b", None)
    assert all(path.exists() for path in kinds.values())


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"path": 1}]', "null"])
def test_a_broken_ledger_counts_as_empty(home: Path, text: str) -> None:
    write(home / "models" / pulled_files.LEDGER_FILE, text.encode())
    assert pulled_files.load_ledger() == {}
    pulled_files.add(home / "models/x.gguf", SHA256, 1)
    assert [*pulled_files.load_ledger()] == ["x.gguf"]
