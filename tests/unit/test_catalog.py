"""Names of models: resolved as documented, and never to a path outside the models folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmd.errors import BadInput, ModelError
from llmd.models import catalog as catalog_module
from llmd.models import resolve
from llmd.models.catalog import catalog, find_variant
from llmd.models.catalog_schema import BITS
from llmd.models.hub_reference import HubFile, check_endpoint, parse_ref
from llmd.prompt.families import family_by_name

QWEN_3B = "hf:ggml-org/Qwen2.5-Coder-3B-Q8_0-GGUF/qwen2.5-coder-3b-q8_0.gguf"


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMD_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("LLMD_CONFIG", "/etc/llmd.toml")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf_home"))
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama.cpp"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return tmp_path


BUILT_IN = catalog()
VARIANTS = [variant for entry in BUILT_IN.values() for variant in entry.variants]
EXPERTS = {"qwen3-coder-30b-a3b", "deepseek-coder-v2-lite"}


def test_the_catalog_has_the_families_that_infill() -> None:
    families = {entry.family for entry in BUILT_IN.values()}
    assert families == {
        "qwen-coder", "starcoder", "codegemma", "deepseek-coder", "codestral", "granite3", "mellum",
        "seed-coder", "codellama",
    }  # fmt: skip
    sizes = [name for name in BUILT_IN if name.startswith("qwen2.5-coder-")]
    assert [name.rpartition("-")[2] for name in sizes] == ["0.5b", "1.5b", "3b", "7b", "14b", "32b"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_entry_is_complete(name: str) -> None:
    entry = BUILT_IN[name]
    assert entry.order == family_by_name(entry.family).order
    assert all((entry.licence, entry.use, entry.n_params_b))
    assert 0 < entry.n_active_params_b <= entry.n_params_b
    assert entry.variants[0].name == name
    assert len({v.quantisation for v in entry.variants}) == len(entry.variants)
    for variant in entry.variants:
        file = variant.source
        assert isinstance(file, HubFile)
        assert file.name == variant.name
        assert find_variant(f"{name}:{variant.quantisation}") == (entry, variant)
        assert variant.quantisation in file.file.upper()
        assert parse_ref(file.ref).file == file.file
        assert len(file.sha256) in (0, 64)
        assert set(file.revision) <= set("0123456789abcdef") | set("main")


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_size_agrees_with_the_number_of_weights(variant: catalog_module.Variant) -> None:
    """Detects a mistyped number: the known sizes differ from the estimate by at most 11 %.

    Rows of DeepSeek-V2 have odd lengths, so some tensors have a larger type; so have embeddings,
    a fifth of CodeGemma 2B.
    """
    entry = BUILT_IN[variant.name.partition(":")[0]]
    estimate = entry.n_params_b * 1e9 * BITS[variant.quantisation] / 8
    assert variant.n_bytes == pytest.approx(estimate, rel=0.11)


@pytest.mark.parametrize("name", sorted(BUILT_IN.keys() - EXPERTS - {"mellum-4b"}))
def test_a_shape_gives_the_number_of_weights(name: str) -> None:
    """Tries two or three matrices per feed-forward layer, and tied or separate embeddings."""
    entry = BUILT_IN[name]
    shape = entry.shape
    attention = 2 * shape.n_embd * (shape.n_head + shape.n_head_kv) * shape.head_dim
    candidates = [
        n_embeddings * shape.n_embd * shape.n_vocab
        + shape.n_layers * (attention + n_matrices * shape.n_embd * shape.n_ff)
        for n_embeddings in (1, 2)
        for n_matrices in (2, 3)
    ]
    assert min(abs(n / 1e9 / entry.n_params_b - 1) for n in candidates) < 0.01


def test_no_two_variants_share_a_file_or_a_hash() -> None:
    files = [v.source for v in VARIANTS if isinstance(v.source, HubFile)]
    assert len({(file.repo, file.file) for file in files}) == len(files) == len(VARIANTS)
    hashes = [file.sha256 for file in files if file.sha256]
    assert len(set(hashes)) == len(hashes) == 4


def test_the_catalog_prefers_base_models() -> None:
    chat = {v.name.partition(":")[0] for v in VARIANTS if "instruct" in str(v.source).lower()}
    assert chat == {"qwen3-coder-30b-a3b"}


def test_a_name_without_a_quantisation_keeps_its_meaning() -> None:
    """A config from before the catalog had several quantisations must still mean the same file."""
    for name in ("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "qwen2.5-coder-7b", "starcoder2-3b"):
        assert BUILT_IN[name].variants[0].quantisation == "Q8_0"


MINE = """
[qwen-mine]
order = "spm"
files = [
    { path = "~/q-{quantisation}.gguf", quantisations = ["Q4_0"] },
    { repo = "a/b", file = "q.gguf", quantisations = ["Q8_0"], bytes.Q8_0 = 7 },
]
adapters = [{ file = "/lora.gguf", scale = 0.5 }, { file = "hf:a/b/l.gguf" }]

[starcoder2-3b]
files = [{ repo = "c/d", file = "s.gguf", quantisations = ["F16"] }]
"""


@pytest.fixture
def mine(models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMD_CONFIG", str(models / "config.toml"))
    monkeypatch.setenv("HOME", str(models))
    (models / "catalog.toml").write_text(MINE)
    return models


def test_a_user_adds_entries_and_replaces_some(mine: Path) -> None:
    assert [*catalog()][-1] == "qwen-mine"
    assert len(catalog()) == len(BUILT_IN) + 1
    assert resolve.pull_source("starcoder2-3b") == HubFile("starcoder2-3b", "c/d", "s.gguf")
    assert resolve.pull_source("qwen-mine") == mine / "q-Q4_0.gguf"
    assert resolve.adapters_to_pull("qwen-mine") == (parse_ref("hf:a/b/l.gguf"),)
    found = find_variant("qwen-mine:q8_0")
    assert found is not None
    assert (found[1].name, found[1].n_bytes, found[1].is_exact) == ("qwen-mine:Q8_0", 7, True)
    (mine / "catalog.toml").write_text("# nothing any more")
    assert len(catalog()) == len(BUILT_IN)


def test_an_entry_is_given_to_the_engine_with_its_adapters(mine: Path) -> None:
    model, lora = mine / "q-Q4_0.gguf", mine / "hf/a/b/l.gguf"
    model.touch()
    with pytest.raises(ModelError, match=r"^Adapter `/lora.gguf` of model `qwen-mine` does not"):
        resolve.resolve_model("qwen-mine")
    (mine / "catalog.toml").write_text(MINE.replace("/lora.gguf", f"{mine}/lora.gguf"))
    (mine / "lora.gguf").touch()
    with pytest.raises(ModelError, match=r"l.gguf` .* does not exist; run `llmd pull qwen-mine`$"):
        resolve.resolve_model("qwen-mine")
    lora.parent.mkdir(parents=True)
    lora.touch()
    resolved = resolve.resolve_model("qwen-mine")
    assert resolved == resolve.ResolvedModel(model, "spm", ((mine / "lora.gguf", 0.5), (lora, 1.0)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a", "cannot be read: "),
        ('[a]\nfile = "x"', "`a`: Object contains unknown field `file`"),
        ("[a]\nfiles = []", "`a`: Expected `array` of length >= 1"),
        ('[a]\nfiles = [{quantisations = ["Q8_0"]}]', "`a`: expected `repo` and `file`, or `path`"),
        (
            '[a]\nfiles = [{repo = "a/..", file = "x.gguf", quantisations = ["Q8_0"]}]',
            "`a`: Model reference `hf:a/../x.gguf` has the invalid owner or repository name `..`",
        ),
        ("[builtin]\nfiles = []", "has the invalid model name `builtin`"),
        ('["a/b"]\nfiles = []', "has the invalid model name `a/b`"),
        ('[a]\norder = "sideways"\nfiles = []', "`a`: Invalid enum value 'sideways'"),
        ("a = 1", "`a`: Expected `object`, got `int`"),
    ],
)
def test_an_invalid_catalog_is_reported(mine: Path, text: str, problem: str) -> None:
    (mine / "catalog.toml").write_text(text)
    for look_up in (catalog, lambda: find_variant("qwen2.5-coder-7b")):
        with pytest.raises(BadInput) as error:
            look_up()
        assert str(error.value).startswith(f"Catalog `{mine}/catalog.toml`")
        assert problem in str(error.value)
    # The engine waits after a ModelError, until the catalog is valid.
    with pytest.raises(ModelError, match=r"^Catalog `"):
        resolve.model_path("qwen2.5-coder-7b")
    assert resolve.pull_source("builtin") is None


@pytest.mark.parametrize(
    ("ref", "repo", "file"),
    [
        (QWEN_3B, "ggml-org/Qwen2.5-Coder-3B-Q8_0-GGUF", "qwen2.5-coder-3b-q8_0.gguf"),
        ("hf:a/b/c.gguf", "a/b", "c.gguf"),
        ("hf:a/b/q8/deep er/c.GGUF", "a/b", "q8/deep er/c.GGUF"),
        ("hf:a_/b.c-d/modèle.gguf", "a_/b.c-d", "modèle.gguf"),
        ("hf:a/b/x-00001-of-00001.gguf", "a/b", "x-00001-of-00001.gguf"),
        ("hf:a/b/x-00001-of-00003.gguf", "a/b", "x-00001-of-00003.gguf"),
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
        ("hf:", "is incomplete"),
        ("hf:a/b", "is incomplete"),
        ("hf:c.gguf", "is incomplete"),
        ("a/b/c.gguf", "is incomplete"),
        ("hf:/a/b/c.gguf", "has the invalid owner or repository name ``"),
        ("hf:a//c.gguf", "has the invalid owner or repository name ``"),
        ("hf:../b/c.gguf", "has the invalid owner or repository name `..`"),
        ("hf:a/../c.gguf", "has the invalid owner or repository name `..`"),
        ("hf:a..b/c/d.gguf", "has the invalid owner or repository name `a..b`"),
        ("hf:a/b--c/d.gguf", "has the invalid owner or repository name `b--c`"),
        ("hf:a/b.git/c.gguf", "has the invalid owner or repository name `b.git`"),
        ("hf:.a/b/c.gguf", "has the invalid owner or repository name `.a`"),
        ("hf:a/b?x/c.gguf", "has the invalid owner or repository name `b?x`"),
        ("hf:a/bé/c.gguf", "has the invalid owner or repository name `bé`"),
        (f"hf:{'a' * 97}/b/c.gguf", f"has the invalid owner or repository name `{'a' * 97}`"),
        ("hf:a/b/../c.gguf", "has the invalid file or folder name `..`"),
        ("hf:a/b/../../../../c.gguf", "has the invalid file or folder name `..`"),
        ("hf:a/b/..", "has the invalid file or folder name `..`"),
        ("hf:a/b/./c.gguf", "has the invalid file or folder name `.`"),
        ("hf:a/b//etc/c.gguf", "has the invalid file or folder name ``"),
        ("hf:a/b/", "has the invalid file or folder name ``"),
        ("hf:a/b/.partial-c.gguf", "has the invalid file or folder name `.partial-c.gguf`"),
        ("hf:a/b/..\\c.gguf", "has the invalid file or folder name `..\\c.gguf`"),
        ("hf:a/b/c\\d.gguf", "has the invalid file or folder name `c\\d.gguf`"),
        (f"hf:a/b/{'é' * 98}.gguf", f"has the invalid file or folder name `{'é' * 98}.gguf`"),
        ("hf:a/b/c.safetensors", "names `c.safetensors`, which is not a GGUF file"),
        ("hf:a/b/gguf", "names `gguf`, which is not a GGUF file"),
        (
            "hf:a/b/x-00002-of-00003.gguf",
            "names part 2 of 3; name the first part `x-00001-of-00003.gguf`",
        ),
        ("hf:a/b/x-00001-of-99999.gguf", "names one of 99999 parts, and llmd supports 1 to 256"),
        ("hf:a/b/x-00001-of-00000.gguf", "names one of 0 parts, and llmd supports 1 to 256"),
    ],
)
def test_an_invalid_reference_is_rejected(ref: str, what: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_ref(ref)
    text = str(error.value)
    assert text.startswith(f"Model reference `{ref}` {what}")
    assert text.endswith("; expected hf:OWNER/REPO/FILE.gguf")


@pytest.mark.parametrize("char", ["\n", "\0", "\x1b", "\x7f", "\u202e", "\u2028", "\ud800"])
def test_a_character_that_would_change_the_terminal_is_rejected_and_not_repeated(char: str) -> None:
    with pytest.raises(BadInput, match="contains unprintable characters") as error:
        parse_ref(f"hf:a/b/c{char}.gguf")
    assert char not in str(error.value)


PARTS = st.sampled_from(["a", "b.gguf", "..", ".", "", "/", "\\", "\0", "é", "~", "C:", "..."])


@given(st.lists(PARTS | st.text(max_size=3), min_size=1, max_size=6).map("/".join))
@example("a/b/c.gguf")
def test_no_reference_leads_out_of_its_folder(rest: str) -> None:
    """An accepted reference is below the repository's folder (class of CVE-2024-37032)."""
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
def test_the_address_of_a_hub_is_accepted(url: str) -> None:
    check_endpoint(url)


@pytest.mark.parametrize("url", ["hub", "file:///x", "http://", "http://[", "http://h:99999"])
def test_other_values_of_the_endpoint_are_rejected(url: str) -> None:
    with pytest.raises(BadInput) as error:
        check_endpoint(url)
    assert str(error.value) == (
        f"HF_ENDPOINT is `{url}`, expected the https:// address of a hub; correct or unset it"
    )


@pytest.mark.parametrize("name", ["builtin", "/x.gguf", "x"])
def test_a_name_that_the_catalog_lacks_has_no_variant(name: str) -> None:
    assert find_variant(name) is None


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("builtin", resolve.BUILTIN_FILE),
        ("starcoder2-3b", "hf/QuantFactory/starcoder2-3b-GGUF/starcoder2-3b.Q8_0.gguf"),
        ("qwen2.5-coder-3b", QWEN_3B.replace("hf:", "hf/")),
        (QWEN_3B, QWEN_3B.replace("hf:", "hf/")),
        ("hf:a/b/q8/c.gguf", "hf/a/b/q8/c.gguf"),
    ],
)
def test_a_pulled_model_has_a_fixed_path(models: Path, name: str, place: str) -> None:
    with pytest.raises(ModelError) as error:
        resolve.model_path(name)
    assert str(error.value) == f"Model `{name}` is not on this machine; run `llmd pull {name}`"
    (models / place).parent.mkdir(parents=True, exist_ok=True)
    (models / place).touch()
    assert resolve.model_path(name) == models / place


def test_an_invalid_reference_in_the_config_counts_as_a_missing_model() -> None:
    """The engine waits for a missing model; any other error would end the engine."""
    with pytest.raises(ModelError, match=r"^Model reference `hf:a` is incomplete; expected hf:"):
        resolve.model_path("hf:a")


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
def test_a_path_that_is_not_a_file_is_reported(models: Path, name: str, state: str) -> None:
    (models / "file").touch()
    (models / "folder").mkdir()
    os.mkfifo(models / "fifo")
    (models / "loop").symlink_to(models / "loop")
    with pytest.raises(ModelError) as error:
        resolve.model_path(f"{models}/{name}")
    assert str(error.value) == (
        f"Model file `{models}/{name}` {state}; set `model` in /etc/llmd.toml to a GGUF file"
    )


def test_what_can_be_pulled(models: Path) -> None:
    assert resolve.pull_source("builtin") is None
    first, second, *_ = BUILT_IN["starcoder2-3b"].variants
    assert resolve.pull_source("starcoder2-3b") == first.source
    assert resolve.pull_source("starcoder2-3b:q4_k_m") == second.source
    assert resolve.pull_source(QWEN_3B) == parse_ref(QWEN_3B)
    (models / "m.gguf").touch()
    assert resolve.pull_source(f"{models}/m.gguf") == models / "m.gguf"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./m.gguf", "`m.gguf` does not exist; name a GGUF file"),
        ("models/m", "`models/m` does not exist; name a GGUF file"),
        (
            "a/b/c.gguf",
            "`a/b/c.gguf` does not exist; for a file on the hub, run `llmd pull hf:a/b/c.gguf`",
        ),
    ],
)
def test_a_path_to_nothing_is_reported(name: str, expected: str) -> None:
    with pytest.raises(BadInput) as error:
        resolve.pull_source(name)
    assert str(error.value) == f"Model file {expected}"


def test_a_model_in_parts_lists_all_parts() -> None:
    parts = parse_ref("hf:a/b/c/x-00001-of-00003.GGUF").parts
    assert [part.file for part in parts] == [f"c/x-0000{no}-of-00003.GGUF" for no in (1, 2, 3)]
    assert [part.file for part in parse_ref("hf:a/b/x.gguf").parts] == ["x.gguf"]


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
def test_an_unknown_name_is_reported_with_a_similar_name(name: str, near: str) -> None:
    with pytest.raises(BadInput) as error:
        resolve.pull_source(name)
    hint = f"; did you mean `{near}`?" if near else ""
    assert str(error.value) == (
        f"Model `{name}` is unknown, expected a name that `llmd models` shows, "
        f"hf:OWNER/REPO/FILE.gguf or a GGUF file{hint}"
    )


@pytest.mark.parametrize(
    "module", ["resolve", "catalog", "pull.hub", "pull.hub_client", "external_caches"]
)
def test_a_module_that_many_import_imports_the_standard_library_alone(module: str) -> None:
    code = (
        f"import sys; before = set(sys.modules); import llmd.models.{module}"
        "; new = {m.split('.')[0] for m in set(sys.modules) - before} - {'llmd'}"
        "; print(new - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
