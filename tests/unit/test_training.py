"""The training program's decisions, and, where PyTorch is present, three real steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from training import holes, leak
from training.layout import END, sample_tokens
from training.sources import File

SETS = Path(__file__).parents[1] / "data"
TEXT = '''import os


def double(values):
    """Twice each."""
    found = []
    for value in values:
        found.append(value * 2)
    return found


def last(values):
    return values[-1]
'''
FILES = [File("a/b", f"{n}.py", "python", TEXT) for n in range(3)]


def bytes_of(text: str) -> list[int]:
    return [256 + byte for byte in text.encode()]


def test_a_sample_depends_on_its_number_alone() -> None:
    forward = [holes.sample(FILES, 1, n) for n in range(50)]
    assert [holes.sample(FILES, 1, n) for n in reversed(range(50))] == forward[::-1]
    assert len(set(forward)) > 25


def test_a_sample_is_a_part_of_its_file() -> None:
    for n in range(300):
        found = holes.sample(FILES, 2, n)
        assert found.prefix + found.middle + found.suffix in TEXT


def test_every_kind_of_hole_is_made() -> None:
    middles = [holes.sample(FILES, 3, n).middle for n in range(400)]
    assert any(not middle for middle in middles)
    assert any(middle.count("\n") > 2 for middle in middles)
    assert any(middle.startswith("\n    ") for middle in middles)  # healed
    assert any(middle.startswith("    for") and "\n" not in middle for middle in middles)
    assert any("a" <= middle[:1] <= "z" and middle[0] not in "fvirolu" for middle in middles)


@pytest.mark.parametrize(
    ("order", "roles"),
    [("psm", ["pre", "suf", "mid"]), ("spm", ["suf", "pre", "mid"])],
)
def test_layout_is_llama_servers(order: holes.Order, roles: list[str]) -> None:
    ids = {"pre": 11, "suf": 6, "mid": 3}
    sample = holes.Sample(order, (), "ab", "yz", "m")
    found = sample_tokens(sample, bytes_of)
    texts = {"pre": bytes_of("ab"), "suf": bytes_of("yz"), "mid": bytes_of("m")}
    assert list(found.ids) == [t for role in roles for t in (ids[role], *texts[role])] + [END]
    assert found.n_targets == 2


def test_header_is_llama_servers() -> None:
    sample = holes.Sample("psm", ("myproject\n", "filename\n"), "", "", "")
    found = sample_tokens(sample, bytes_of)
    expected = [4, *bytes_of("myproject\n"), 5, *bytes_of("filename\n"), 11, 6, 3, END]
    assert list(found.ids) == expected


GUARD = leak.guard(SETS.glob("HumanEval*.jsonl.gz"))
BORROWED = """def fine(numbers, threshold):
    for idx, elem in enumerate(numbers):
        for idx2, elem2 in enumerate(numbers):
            if idx != idx2:
                distance = abs(elem - elem2)
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TEXT, ""),
        ("def has_close_elements(a):\n    return a\n", "defines has_close_elements"),
        ("fn has_close_elements() {}\n", "defines has_close_elements"),
        ("x = has_close_elements\n", ""),
        (BORROWED, "shares text"),
        (BORROWED.replace("    ", "\t"), "shares text"),
        (BORROWED.replace("elem", "item").replace("idx", "n"), ""),
    ],
    ids=["own", "name", "name in Rust", "use of a name", "text", "other layout", "other names"],
)
def test_what_shares_text_with_an_evaluation_is_left_out(text: str, reason: str) -> None:
    assert GUARD.overlap(text) == reason


def test_three_steps_train_and_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from training import __main__ as program
    from training.model import Model, Shape

    shape = Shape(n_layers=2, n_embd=32, n_ff=48, n_head=4, n_head_kv=2, n_vocab=600)

    def run(n_steps: int, folder: Path) -> Model:
        torch.manual_seed(0)
        folder.mkdir(exist_ok=True)
        model = Model(shape, rank=4)
        args = program.parser().parse_args(["--out", str(folder), "--steps", str(n_steps)])
        program.train(model, FILES, FILES, bytes_of, args)
        return model

    whole = run(3, tmp_path / "whole")
    assert all(bool(block.attn_q.b.abs().sum() > 0) for block in whole.blocks)
    run(3, tmp_path / "again")  # finished: nothing is left to do
    resumed = run(3, tmp_path / "again")
    assert _equal(whole, resumed)


def test_an_adapter_comes_back_as_it_was_written(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from training.model import Model, Shape

    shape = Shape(n_layers=2, n_embd=32, n_ff=64, n_head=4, n_head_kv=2, n_vocab=600)
    model = Model(shape, rank=32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter).half().float())
    model.write_adapter(tmp_path / "adapter.gguf", {"general.name": "x"})
    other = Model(shape, rank=32)
    other.read_adapter(tmp_path / "adapter.gguf")
    assert _equal(model, other)


def _equal(left: object, right: object) -> bool:
    pairs = zip(left.parameters(), right.parameters(), strict=True)  # type: ignore[attr-defined]
    return all(bool((a == b).all()) for a, b in pairs)
