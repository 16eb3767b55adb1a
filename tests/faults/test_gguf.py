"""Loads damaged GGUFs: each gives a ModelError or a model, never another exception or a signal
(row 23).

LLMD_N_FAULTS sets the number of files. A failure names its seed, which reproduces the failure.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmd.errors import ModelError
from llmd.models.gguf.validate import check_model
from llmd.prompt.families import FAMILIES
from tests.support.gguf_bytes import (
    ARRAY,
    STRING,
    U32,
    Gguf,
    Raw,
    Tensor,
    array,
    number,
    string,
    tiny,
)
from tests.support.toy_gguf import write_vocabulary

N_FAULTS = int(os.environ.get("LLMD_N_FAULTS", "500"))
N_BATCH = 500  # files on the disk at the same time
ALARMING = (0, 1, 2, 7, 8, 9, 31, 32, 255, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, (1 << 64) - 1)
NUMBERS = (
    "context_length", "embedding_length", "block_count", "feed_forward_length", "vocab_size",
    "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.value_length", "attention.sliding_window", "rope.dimension_count", "expert_count",
    "expert_used_count", "expert_group_count", "expert_group_used_count", "nextn_predict_layers",
    "embedding_length_out", "rope.scaling.original_context_length", "leading_dense_block_count",
)  # fmt: skip
COUNTS = (0, 1, 2, 3, 4, 8, 15, 16, 17, 31, 32, 33, 64, 512, 1024, 1 << 20, 1 << 31, (1 << 32) - 1)
TOKENS_KEY = b"tokenizer.ggml.tokens"
TAIL_BYTES = 24 << 10  # the last fields and the tensors of the built-in model's header


def mutations(seed: int, n_bytes: int, edge: int | None = None) -> dict[int, bytes]:
    """Returns one to four offsets and the bytes to write there. Half of the offsets are before
    `edge` or in the tail, because nearly all bytes in between are the text of tokens."""
    chance = random.Random(seed)
    changes = {}
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(n_bytes)
        if edge and chance.random() < 0.5:
            at = chance.choice((chance.randrange(edge), n_bytes - 1 - chance.randrange(TAIL_BYTES)))
        width = chance.choice((1, 1, 4, 8))
        value = chance.choice((chance.getrandbits(64), *ALARMING))
        changes[at] = value.to_bytes(8, "little")[:width]
    return changes


def with_other_fields(seed: int) -> bytes:
    """Returns a tiny model with one or two numbers changed to others of the same type."""
    chance = random.Random(seed)
    names = chance.sample(NUMBERS, chance.randint(1, 2))
    return tiny({f"llama.{name}": number(U32, chance.choice(COUNTS)) for name in names}).encode()


def changed(whole: bytes, seed: int) -> bytes:
    made = bytearray(whole)
    for at, data in mutations(seed, len(whole)).items():
        made[at : at + len(data)] = data
    return bytes(made)


def passes(path: Path, seed: object, needs_tensors: bool = True) -> bool:
    try:
        check_model(path, needs_tensors)
    except ModelError as error:
        message = str(error)
        assert message.startswith(f"Model file `{path}` "), seed
        assert message.isprintable(), seed
        assert len(message) < 1000, seed
        return False
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}") from error
    return True


@pytest.fixture(scope="module")
def real(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Returns a file of the built-in model's header and a hole in place of its tensors, and the
    header."""
    (model,) = models_dir.glob("*.gguf")
    path = tmp_path_factory.mktemp("real") / "m.gguf"
    with model.open("rb") as file:
        header = file.read(check_model(model).file_bytes - check_model(model).tensor_bytes)
    path.write_bytes(header)
    os.truncate(path, model.stat().st_size)
    return path, header


@pytest.mark.timeout(60 + N_FAULTS // 2)
def test_a_real_header_with_other_bytes(real: tuple[Path, bytes]) -> None:
    path, header = real
    n_passed = 0
    assert passes(path, "none")
    with path.open("r+b", buffering=0) as file:
        for seed in range(N_FAULTS):
            places = mutations(seed, len(header), header.index(TOKENS_KEY))
            for at, data in places.items():
                os.pwrite(file.fileno(), data, at)
            n_passed += passes(path, seed)
            for at, data in places.items():
                os.pwrite(file.fileno(), header[at : at + len(data)].ljust(len(data), b"\0"), at)
    assert passes(path, "none")
    assert 0 < n_passed < N_FAULTS


texts = st.one_of(st.text(max_size=12), st.binary(max_size=12))
values = st.one_of(
    st.builds(Raw, st.integers(0, 14), st.binary(max_size=24)),
    st.builds(number, st.sampled_from([4, 5, 7, 10]), st.integers(0, 1)),
    st.builds(string, texts, st.none() | st.integers(0, (1 << 64) - 1)),
    st.builds(array, st.just(STRING), st.lists(texts, max_size=4), st.none() | st.integers(0, 9)),
    st.builds(lambda data: Raw(ARRAY, data), st.binary(max_size=32)),
)
tensors = st.builds(
    Tensor,
    texts,
    st.lists(st.integers(-1, 1 << 40), max_size=5).map(tuple),
    st.sampled_from([0, 32, 33, 64, (1 << 64) - 1]),
    st.integers(0, 44),
)
known = st.sampled_from(["general.architecture", "general.alignment", "split.count", "k"])
ggufs = st.builds(
    Gguf,
    fields=st.lists(st.tuples(known | texts, values), max_size=4),
    tensors=st.lists(tensors, max_size=3),
    data=st.binary(max_size=64),
    n_tensors=st.none() | st.integers(0, (1 << 64) - 1),
    n_kv=st.none() | st.integers(0, (1 << 64) - 1),
)


@settings(
    max_examples=N_FAULTS,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(made=st.one_of(ggufs.map(Gguf.encode), st.binary().map(b"GGUF\x03\0\0\0".__add__)))
def test_a_made_up_header(made: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(made)
    passes(path, made)
    passes(path, made, needs_tensors=False)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Returns a model with weights, a byte-level vocabulary and a sentencepiece vocabulary."""
    folder = tmp_path_factory.mktemp("toys")
    by_name = {family.name: family for family in FAMILIES}
    for name in ("starcoder", "codellama"):
        write_vocabulary(folder / name, "toy", by_name[name], {"pre": 1, "suf": 2, "mid": 3})
    return [tiny().encode(), *((folder / name).read_bytes() for name in ("starcoder", "codellama"))]


def passing(folder: Path, bases: list[bytes], seeds: range) -> Iterator[Path]:
    for seed in seeds:
        path = folder / f"{seed}.gguf"
        kind = seed % (len(bases) + 1)
        made = changed(bases[kind], seed) if kind < len(bases) else with_other_fields(seed)
        path.write_bytes(made)
        if passes(path, seed, needs_tensors=False):
            yield path
        else:
            path.unlink()


@pytest.mark.timeout(60 + N_FAULTS // 2)
def test_no_file_that_passes_kills_llama_cpp(bases: list[bytes], tmp_path: Path) -> None:
    n_loaded = 0
    for start in range(0, N_FAULTS, N_BATCH):
        seeds = range(start, min(start + N_BATCH, N_FAULTS))
        paths = list(passing(tmp_path, bases, seeds))
        done = subprocess.run(
            [sys.executable, "-c", LOAD_EACH, *map(str, paths)],
            capture_output=True, text=True, check=False,
            env=os.environ | {"GGML_NO_BACKTRACE": "1"},  # else ggml runs gdb on our output
        )  # fmt: skip
        lines = done.stdout.splitlines()
        last = lines[-1] if lines else "none"
        assert done.returncode == 0, f"{done.returncode} at {last}: {done.stderr[-2000:]}"
        n_loaded += lines.count("loaded")
        for path in paths:
            path.unlink()
    assert n_loaded > 0


# Loads each file as the worker does. Prints the file's name before and the outcome after.
LOAD_EACH = """
import sys
from pathlib import Path
from llmd.config import EngineConfig
from llmd.errors import EngineError, ModelError
from llmd.models.gguf.validate import check_model
from llmd.models.memory_plan import DescribedMachine, plan_load
from llmd.worker.llama import Context, Model

TEXT = "def f(x):\\n\\treturn 'é🙂' \\0\\r\\n"

def load(path):
    model = Model(path, vocab_only=True)
    tokens = model.vocabulary.tokenize(TEXT)
    b"".join(map(model.vocabulary.piece, range(model.vocabulary.n_tokens)))
    model.close()
    if not check_model(path, needs_tensors=False).n_tensors:
        return
    check_model(path)
    model = Model(path)
    context = Context(model, plan_load(EngineConfig(), DescribedMachine("cpu", 1), model.shape))
    context.decode(tokens[:1] or (0,), 0, True)
    context.close()
    model.close()

for name in sys.argv[1:]:
    print(name, flush=True)
    try:
        load(Path(name))
        print("loaded", flush=True)
    except (ModelError, EngineError):
        print("refused", flush=True)
"""
