"""Names of models: what they stand for, and that none leads out of the models folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmd.errors import BadInput, ModelError
from llmd.models import store
from llmd.models.catalog import CATALOG, HubFile, check_endpoint, hub_file, parse_ref

QWEN_3B = "hf:ggml-org/Qwen2.5-Coder-3B-Q8_0-GGUF/qwen2.5-coder-3b-q8_0.gguf"


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMD_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("LLMD_CONFIG", "/etc/llmd.toml")
    return tmp_path


def test_the_catalog_has_these_names() -> None:
    assert list(CATALOG) == [
        "qwen2.5-coder-0.5b",
        "qwen2.5-coder-1.5b",
        "qwen2.5-coder-3b",
        "qwen2.5-coder-7b",
        "starcoder2-3b",
    ]


@pytest.mark.parametrize("name", CATALOG)
def test_an_entry_is_whole(name: str) -> None:
    entry = CATALOG[name]
    assert entry.file.name == name
    named_by_ref = parse_ref(entry.file.ref)
    assert (named_by_ref.repo, named_by_ref.file) == (entry.file.repo, entry.file.file)
    assert entry.quantisation in entry.file.file.upper()
    assert 5e8 < entry.n_bytes < 9e9
    assert entry.licence
    assert len(entry.file.sha256) in (0, 64)
    assert set(entry.file.sha256 + entry.file.revision) <= set("0123456789abcdef") | set("main")


def test_no_two_entries_share_a_file_or_a_hash() -> None:
    files = [entry.file for entry in CATALOG.values()]
    assert len({(file.repo, file.file) for file in files}) == len(files)
    hashes = [file.sha256 for file in files if file.sha256]
    assert len(set(hashes)) == len(hashes) == 4


def test_the_catalog_names_base_models() -> None:
    assert not [name for name, e in CATALOG.items() if "instruct" in e.file.ref.lower()]


@pytest.mark.parametrize(
    ("ref", "repo", "file"),
    [
        (QWEN_3B, "ggml-org/Qwen2.5-Coder-3B-Q8_0-GGUF", "qwen2.5-coder-3b-q8_0.gguf"),
        ("hf:a/b/c.gguf", "a/b", "c.gguf"),
        ("hf:a/b/q8/deep er/c.GGUF", "a/b", "q8/deep er/c.GGUF"),
        ("hf:a_/b.c-d/modèle.gguf", "a_/b.c-d", "modèle.gguf"),
        ("hf:a/b/x-00001-of-00001.gguf", "a/b", "x-00001-of-00001.gguf"),
        (f"hf:a/b/{'x' * 195}.gguf", "a/b", f"{'x' * 195}.gguf"),
        (f"hf:{'a' * 96}/b/c.gguf", f"{'a' * 96}/b", "c.gguf"),
    ],
)
def test_a_reference_names_a_file_of_the_hub(ref: str, repo: str, file: str) -> None:
    assert parse_ref(ref) == HubFile(ref, repo, file, "main", "")
    assert parse_ref(ref).ref == ref


@pytest.mark.parametrize(
    ("ref", "what"),
    [
        ("hf:", "lacks a part"),
        ("hf:a/b", "lacks a part"),
        ("hf:c.gguf", "lacks a part"),
        ("a/b/c.gguf", "lacks a part"),
        ("hf:/a/b/c.gguf", "has ``, which is no name of an owner"),
        ("hf:a//c.gguf", "has ``, which is no name of an owner"),
        ("hf:../b/c.gguf", "has `..`, which is no name of an owner"),
        ("hf:a/../c.gguf", "has `..`, which is no name of an owner"),
        ("hf:a..b/c/d.gguf", "has `a..b`, which is no name of an owner"),
        ("hf:a/b--c/d.gguf", "has `b--c`, which is no name of an owner"),
        ("hf:a/b.git/c.gguf", "has `b.git`, which is no name of an owner"),
        ("hf:.a/b/c.gguf", "has `.a`, which is no name of an owner"),
        ("hf:a/b?x/c.gguf", "has `b?x`, which is no name of an owner"),
        ("hf:a/bé/c.gguf", "has `bé`, which is no name of an owner"),
        (f"hf:{'a' * 97}/b/c.gguf", f"has `{'a' * 97}`, which is no name of an owner"),
        ("hf:a/b/../c.gguf", "has `..`, which is no name of a file"),
        ("hf:a/b/../../../../c.gguf", "has `..`, which is no name of a file"),
        ("hf:a/b/..", "has `..`, which is no name of a file"),
        ("hf:a/b/./c.gguf", "has `.`, which is no name of a file"),
        ("hf:a/b//etc/c.gguf", "has ``, which is no name of a file"),
        ("hf:a/b/", "has ``, which is no name of a file"),
        ("hf:a/b/.partial-c.gguf", "has `.partial-c.gguf`, which is no name of a file"),
        ("hf:a/b/..\\c.gguf", "has `..\\c.gguf`, which is no name of a file"),
        ("hf:a/b/c\\d.gguf", "has `c\\d.gguf`, which is no name of a file"),
        (f"hf:a/b/{'é' * 98}.gguf", f"has `{'é' * 98}.gguf`, which is no name of a file"),
        ("hf:a/b/c.safetensors", "names `c.safetensors`, which is no GGUF file"),
        ("hf:a/b/gguf", "names `gguf`, which is no GGUF file"),
        ("hf:a/b/x-00001-of-00003.gguf", "names part 1 of 3, and llmd takes whole files"),
    ],
)
def test_a_malformed_reference_is_refused(ref: str, what: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_ref(ref)
    text = str(error.value)
    assert text.startswith(f"Model reference `{ref}` {what}")
    assert text.endswith("; expected hf:OWNER/REPO/FILE.gguf")


@pytest.mark.parametrize("char", ["\n", "\0", "\x1b", "\x7f", "\u202e", "\u2028", "\ud800"])
def test_a_character_that_would_change_the_terminal_is_refused_and_not_repeated(char: str) -> None:
    with pytest.raises(BadInput, match="has characters that cannot be printed") as error:
        parse_ref(f"hf:a/b/c{char}.gguf")
    assert char not in str(error.value)


PARTS = st.sampled_from(["a", "b.gguf", "..", ".", "", "/", "\\", "\0", "é", "~", "C:", "..."])


@given(st.lists(PARTS | st.text(max_size=3), min_size=1, max_size=6).map("/".join))
@example("a/b/c.gguf")
def test_no_reference_leads_out_of_its_folder(rest: str) -> None:
    """CVE-2024-37032's class: what is accepted lies where it is said to lie."""
    try:
        file = parse_ref(f"hf:{rest}")
    except BadInput:
        return
    root = Path("/models/hf").joinpath(file.repo)
    place = Path("/models/hf", file.repo, file.file)
    assert place.is_relative_to(root)
    assert ".." not in place.parts
    assert place.parts == ("/", "models", "hf", *rest.split("/"))


@pytest.mark.parametrize("url", ["", "http://h", "https://h.org/", "http://127.0.0.1:80/a"])
def test_an_address_of_a_hub_is_taken(url: str) -> None:
    check_endpoint(url)


@pytest.mark.parametrize("url", ["hub", "file:///x", "http://", "http://[", "http://h:99999"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadInput) as error:
        check_endpoint(url)
    assert str(error.value) == (
        f"HF_ENDPOINT is `{url}`, expected a hub's https:// address; or unset it"
    )


def test_what_is_no_name_of_the_hub_is_none() -> None:
    assert (hub_file("builtin"), hub_file("/x.gguf"), hub_file("x")) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("builtin", store.BUILTIN_FILE),
        ("starcoder2-3b", "hf/QuantFactory/starcoder2-3b-GGUF/starcoder2-3b.Q8_0.gguf"),
        ("qwen2.5-coder-3b", QWEN_3B.replace("hf:", "hf/")),
        (QWEN_3B, QWEN_3B.replace("hf:", "hf/")),
        ("hf:a/b/q8/c.gguf", "hf/a/b/q8/c.gguf"),
    ],
)
def test_a_pulled_model_has_its_place(models: Path, name: str, place: str) -> None:
    with pytest.raises(ModelError) as error:
        store.model_path(name)
    assert str(error.value) == f"Model `{name}` is not on this machine; run `llmd pull {name}`"
    (models / place).parent.mkdir(parents=True, exist_ok=True)
    (models / place).touch()
    assert store.model_path(name) == models / place


def test_a_malformed_reference_in_the_config_is_a_model_that_is_missing() -> None:
    """The engine waits for a model that is missing; any other error would end it."""
    with pytest.raises(ModelError, match=r"^Model reference `hf:a` lacks a part; expected hf:"):
        store.model_path("hf:a")


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("none.gguf", "does not exist"),
        ("file/none.gguf", "does not exist"),
        ("folder", "is not a file"),
        ("fifo", "is not a file"),
        ("loop", "cannot be reached: Too many levels of symbolic links"),
        ("x" * 300, "cannot be reached: File name too long"),
        ("nul\0", "cannot be reached: embedded null byte"),
    ],
    ids=["none", "none-in-file", "folder", "row 29 fifo", "row 29 loop", "long", "nul"],
)
def test_a_path_that_is_no_file_is_told(models: Path, name: str, state: str) -> None:
    (models / "file").touch()
    (models / "folder").mkdir()
    os.mkfifo(models / "fifo")
    (models / "loop").symlink_to(models / "loop")
    with pytest.raises(ModelError) as error:
        store.model_path(f"{models}/{name}")
    assert str(error.value) == (
        f"Model file `{models}/{name}` {state}; set `model` in /etc/llmd.toml to a GGUF file"
    )


def test_what_can_be_pulled() -> None:
    assert store.what_to_pull("builtin") is None
    assert store.what_to_pull("starcoder2-3b") == CATALOG["starcoder2-3b"].file
    assert store.what_to_pull(QWEN_3B) == parse_ref(QWEN_3B)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./m.gguf", "is a path, expected a name; run `llmd use ./m.gguf`"),
        ("~/m.gguf", "is a path, expected a name; run `llmd use ~/m.gguf`"),
        ("models/m", "is a path, expected a name; run `llmd use models/m`"),
        (
            "a/b/c.gguf",
            "is a path, expected a name; run `llmd use a/b/c.gguf`, or `llmd pull hf:a/b/c.gguf` "
            "for the hub's",
        ),
    ],
)
def test_a_path_is_not_pulled(name: str, expected: str) -> None:
    with pytest.raises(BadInput) as error:
        store.what_to_pull(name)
    assert str(error.value) == f"Model `{name}` {expected}"


def test_a_file_that_is_here_is_no_reference(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models)
    (models / "a" / "b").mkdir(parents=True)
    (models / "a" / "b" / "c.gguf").touch()
    (models / "model").touch()
    for name in ("a/b/c.gguf", "model"):
        with pytest.raises(BadInput, match=f"is a path, .*; run `llmd use {name}`$"):
            store.what_to_pull(name)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("qwen2.5-coder-1.5", "qwen2.5-coder-1.5b"),
        ("Qwen2.5-Coder-7B", "qwen2.5-coder-7b"),
        ("starcoder-3b", "starcoder2-3b"),
        ("bultin", "builtin"),
        ("gpt-9", ""),
    ],
)
def test_an_unknown_name_is_told_with_its_neighbour(name: str, near: str) -> None:
    with pytest.raises(BadInput) as error:
        store.what_to_pull(name)
    names = ", ".join(["builtin", *CATALOG])
    hint = f"; did you mean `{near}`" if near else ""
    assert str(error.value) == (
        f"Model `{name}` is not known, expected {names} or hf:OWNER/REPO/FILE.gguf{hint}"
    )


@pytest.mark.parametrize("module", ["store", "catalog", "hub"])
def test_a_module_that_many_import_brings_the_standard_library_alone(module: str) -> None:
    code = (
        f"import sys; before = set(sys.modules); import llmd.models.{module}"
        "; new = {m.split('.')[0] for m in set(sys.modules) - before} - {'llmd'}"
        "; print(new - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
