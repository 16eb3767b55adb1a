"""Tables of `llmd models`, proposals of `llmd pull`, and `llmd config from-flags`."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest
from tests.support import gguf_bytes

from llmd.cli import model_commands, progress
from llmd.errors import BadInput
from llmd.models import listing, resolve
from llmd.models.catalog import catalog
from llmd.models.hub_reference import HubFile
from llmd.models.memory_plan import DescribedMachine, Gpu
from llmd.models.recommend import HostResources

GB = 10**9
SLOW = HostResources(DescribedMachine("cpu", 2, 0, 16 * GB, 12 * GB), 10.0 * GB)
CARD = HostResources(
    DescribedMachine("gpu", 8, 0, 32 * GB, 24 * GB, (Gpu("RTX 3060", 12 * GB, 12 * GB),)),
    360.0 * GB,
)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Returns an empty models folder of a user without models of other programs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "none"))
    monkeypatch.setenv("LLMD_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("LLMD_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    for name in ("LLAMA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(model_commands, "_host_resources", lambda: request.param)


def shown(capsys: pytest.CaptureFixture[str], *words: str, as_json: bool = False) -> str:
    assert model_commands.models(argparse.Namespace(words=list(words), json=as_json)) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("models", "room")
@pytest.mark.parametrize("room", [CARD], indirect=True)
class TestTable:
    def test_all_available_models_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        head, _, *rows = shown(capsys).partition("\n\nUse Q4_K_M or")[0].splitlines()
        assert head == "To pull, in the best quantisation for this machine"
        names = [row.split()[0].partition(":")[0] for row in rows]
        assert names == ["builtin", *catalog()]

    def test_a_model_that_fits_in_part_shows_the_layers(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = {row.split()[0]: row for row in shown(capsys).splitlines() if row.strip()}
        assert "yes, 2048 ctx" in rows["qwen2.5-coder-7b:Q5_K_M"]
        assert " of 64 layers" in rows["qwen2.5-coder-32b:Q4_K_M"]

    def test_one_model_is_shown_in_each_quantisation(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = shown(capsys, "qwen2.5-coder-7b").splitlines()
        kinds = [row.split()[-7] for row in lines[3:-2]]
        assert len(kinds) == len(catalog()["qwen2.5-coder-7b"].variants)
        assert lines[-1] == "Take Q5_K_M: fits easily, with the least loss of quality."
        (marked,) = (row for row in lines if row.startswith("* "))
        assert "Q5_K_M" in marked

    def test_the_built_in_model_is_listed(
        self, models: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "Take Q8_0" in shown(capsys, "builtin")
        resolve.builtin_path().write_bytes(gguf_bytes.tiny().encode())
        rows = json.loads(shown(capsys, as_json=True))
        (own,) = (row for row in rows if row["name"] == "builtin")
        assert (own["where"], own["path"]) == ("built in", str(resolve.builtin_path()))
        assert (own["family"], own["licence"]) == ("smollm2-fim", "Apache-2.0")

    def test_a_size_that_is_not_known_is_a_question_mark(
        self, models: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (models.parent / "catalog.toml").write_text(
            '[mine]\nfiles = [{ repo = "a/b", file = "m.gguf", quantisations = ["Q4_0"] }]\n'
        )
        table = shown(capsys)
        (row,) = (row for row in table.splitlines() if "mine" in row)
        assert row.split()[:4] == ["mine:Q4_0", "Q4_0", "?", "?"]
        assert "~0" not in table + shown(capsys, "mine")
        source = resolve.pull_source("mine")
        assert isinstance(source, HubFile)
        progress._announce("mine", source)
        assert capsys.readouterr().err == "mine: Q4_0, licence not given\n"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("nope", "Model `nope` is not in the catalog; `llmd models` lists the catalog"),
            ("codellama-7b:Q9", "Model `codellama-7b` has no quantisation `Q9`, expected"),
        ],
    )
    def test_an_unknown_name_is_reported(self, name: str, message: str) -> None:
        with pytest.raises(BadInput) as error:
            model_commands.models(argparse.Namespace(words=[name], json=False))
        assert str(error.value).startswith(message)


@pytest.mark.usefixtures("models", "room")
@pytest.mark.parametrize("room", [SLOW], indirect=True)
def test_a_model_slower_than_a_token_a_second_is_not_shown_as_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = shown(capsys)
    (row,) = (row for row in table.splitlines() if "qwen2.5-coder-14b:" in row)
    assert "  <1  " in row
    assert "~0" not in table


def test_the_size_of_the_built_in_model_is_its_own(models_dir: Path) -> None:
    (variant,) = listing.find_entry("builtin").variants
    assert variant.n_bytes == (models_dir / resolve.BUILTIN_FILE).stat().st_size


@pytest.mark.usefixtures("models", "room")
@pytest.mark.parametrize(
    ("room", "typed", "pulled"),
    [
        (CARD, "\n", ["qwen2.5-coder-7b:Q5_K_M"]),
        (CARD, "Y\n", ["qwen2.5-coder-7b:Q5_K_M"]),
        (CARD, "n\n", []),
        (CARD, "", []),  # the end of the input: nobody can answer
        (SLOW, "yes\n", ["builtin"]),
    ],
    indirect=["room"],
)
def test_a_pull_without_a_name_proposes_and_asks(
    typed: str,
    pulled: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names: list[str] = []
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    monkeypatch.setattr(
        progress, "pull_with_progress", lambda name: names.append(name) or Path(name)
    )
    done = model_commands.pull(argparse.Namespace(model=None, yes=False))
    err = capsys.readouterr().err
    assert names == pulled
    assert done == (0 if pulled else 1)
    assert err.startswith("For this machine: ")
    assert "Pull it? [Y/n] " in err
    assert err.endswith("Nothing was pulled\n") is not bool(pulled)


@pytest.mark.usefixtures("models", "room")
@pytest.mark.parametrize("room", [CARD], indirect=True)
def test_the_proposal_describes_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert model_commands._propose_model(is_agreed=True) == "qwen2.5-coder-7b:Q5_K_M"
    assert capsys.readouterr().err == (
        "For this machine: qwen2.5-coder-7b:Q5_K_M (Q5_K_M, ~5.4 GB, licence Apache-2.0, about 53"
        " tokens/s): fits easily, with the least loss of quality\n"
    )


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("qwen2.5-coder-7", "is unknown, expected a name that `llmd models` shows, "),
        ("./x.gguf", "Model file `x.gguf` does not exist; name a GGUF file"),
        ("codellama-7b", "is not on this machine; run `llmd pull codellama-7b`"),
    ],
)
def test_a_model_that_cannot_be_used_is_reported_as_by_a_pull(name: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        model_commands._config_value(name)
    assert message in str(error.value)


FLAGS_LINE = ["llama-cli", "-t", "16", "--wobble"]


@pytest.mark.parametrize(
    ("model", "n_cores", "warnings"),
    [
        ("{here}", 16, []),
        ("{here}", 8, ["`engine.threads` is 16, but this machine has 8 cores; set at most 8"]),
        ("{here}", 1, ["but this machine has 1 core; "]),
        ("{none}", 16, ["Model file `{none}` does not exist"]),
        ("{none}", 8, ["Model file `{none}` does not exist", "`engine.threads` is 16"]),
    ],
)
def test_a_line_of_llama_cpp_that_does_not_suit_the_machine_is_warned_about(
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    n_cores: int,
    warnings: list[str],
) -> None:
    names = {"here": str(models / "here.gguf"), "none": str(models / "none.gguf")}
    (models / "here.gguf").touch()
    monkeypatch.setattr("llmd.machine.n_cores", lambda: n_cores)
    line = [*FLAGS_LINE, "-m", model.format_map(names)]
    model_commands.config_from_flags(line, is_written=True)
    out, err = capsys.readouterr()
    left_out, *lines = err.splitlines()
    assert left_out.startswith("left out: --wobble: ")
    assert len(lines) == len(warnings)
    for shown, expected in zip(lines, warnings, strict=True):
        assert shown.startswith("warning: ")
        assert expected.format_map(names) in shown
    assert "threads = 16" in out
    assert f'model = "{model.format_map(names)}"' in (models.parent / "config.toml").read_text()


def test_a_preset_of_llama_cpp_that_was_not_pulled_is_warned_about(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_commands.config_from_flags(["--fim-qwen-7b-default"], is_written=False)
    assert "run `llmd pull qwen2.5-coder-7b`" in capsys.readouterr().err
    assert not (models.parent / "config.toml").exists()
