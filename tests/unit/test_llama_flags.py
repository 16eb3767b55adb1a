"""llama.cpp's lines as settings: each flag has a key, a reason why not, or is told as unknown."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from llmd.cli.llama_flags import FLAGS, as_toml, flags_for_key, from_flags
from llmd.config.parse import keys, parse

R1 = """./llama.cpp/llama-cli --model DeepSeek-R1-UD-IQ1_S/DeepSeek-R1-UD-IQ1_S-00001-of-00003.gguf
 --cache-type-k q4_0 --threads 16 --prio 2 --temp 0.6 --ctx-size 8192 --seed 3407
 --n-gpu-layers 59 -no-cnv --prompt "<|User|>Create a game in Python.<|Assistant|>" """


def told(line: str) -> tuple[dict[str, Any], list[str]]:
    found = from_flags(shlex.split(line))
    return found.settings, [note.partition(": ")[0] for note in found.skipped]


def test_the_line_that_the_issue_names() -> None:
    settings, left_out = told(R1)
    assert settings == {
        "model": "DeepSeek-R1-UD-IQ1_S/DeepSeek-R1-UD-IQ1_S-00001-of-00003.gguf",
        "engine.cache_type_k": "q4_0",
        "engine.threads": 16,
        "engine.prio": 2,
        "sampling.temperature": 0.6,
        "engine.n_ctx": 8192,
        "sampling.seed": 3407,
        "engine.n_gpu_layers": 59,
    }
    assert left_out == ["-no-cnv", "--prompt <|User|>Create a game in Python.<|Assistant|>"]
    config = parse(as_toml(settings), "c")
    assert (config.engine.n_ctx, config.sampling.seed, config.engine.prio) == (8192, 3407, 2)


@pytest.mark.parametrize(
    ("line", "settings", "left_out"),
    [
        ("-ngl 99 -fa", {"engine.n_gpu_layers": 99, "engine.flash_attn": True}, []),
        ("-ngl all -fa off", {"engine.n_gpu_layers": "all", "engine.flash_attn": False}, []),
        ("-ngl auto -fa auto", {}, ["-ngl auto", "-fa auto"]),
        ("-c 0 -t -1", {}, ["-c 0", "-t -1"]),
        ("--ctx-size=4096", {"engine.n_ctx": 4096}, []),
        ("--ctx_size 4096", {"engine.n_ctx": 4096}, []),
        ("-ts 3,1", {"engine.tensor_split": [3.0, 1.0]}, []),
        ("-b 1024 -ub 512", {"engine.n_batch": 1024, "engine.n_ubatch": 512}, []),
        ("--temp 0", {"sampling.profile": "greedy"}, []),
        ("--seed -1", {}, ["--seed -1"]),
        ("-n -1", {}, ["-n -1"]),
        ("-n 32", {"completion.max_tokens": 32}, []),
        ("-cram 2048", {"kv.ram_bytes": 2048 << 20}, []),
        ("--no-mmap --mlock", {"engine.mmap": False, "engine.mlock": True}, []),
        ("--spm-infill", {"fim.order": "spm"}, []),
        ("-ctv q5_1", {}, ["-ctv q5_1"]),
        ("-c many", {}, ["-c many"]),
        ("-c", {}, ["-c"]),
        ("-ot x=CPU --fit off", {}, ["-ot x=CPU", "--fit off"]),
        ("--top-k 40 --wobble 3", {}, ["--top-k 40", "--wobble 3"]),
        ("--fim-qwen-7b-default", {"model": "qwen2.5-coder-7b"}, []),
        ("-hfr a/b -hff c.gguf", {"model": "hf:a/b/c.gguf"}, []),
        (
            "-hf ggml-org/Qwen2.5-Coder-3B-Q8_0-GGUF",
            {"model": "hf:ggml-org/Qwen2.5-Coder-3B-Q8_0-GGUF/qwen2.5-coder-3b-q8_0.gguf"},
            [],
        ),
        ("-hf a/b:Q4_K_M", {}, ["a/b:Q4_K_M"]),
        ("", {}, []),
    ],
)
def test_a_flag_says_a_setting_or_why_it_says_none(
    line: str, settings: dict[str, Any], left_out: list[str]
) -> None:
    assert told(line) == (settings, left_out)


def test_each_flag_has_a_key_of_the_config() -> None:
    assert {flag.key for flag in FLAGS} <= keys().keys()
    assert flags_for_key("engine.n_gpu_layers") == ("-ngl", "--gpu-layers", "--n-gpu-layers")
    assert flags_for_key("completion.recall") == ()


def test_what_is_said_of_a_flag_is_a_sentence() -> None:
    notes = from_flags(["--port", "80", "--lora", "x", "--jinja", "--cache-reuse", "1", "-md", "y"])
    assert notes.settings == {}
    assert not [note for note in notes.skipped if "no meaning" in note]


def test_a_text_is_quoted_as_toml() -> None:
    settings = {"model": 'a "b"\\c.gguf', "engine.mmap": False}
    config = parse(as_toml(settings), "c")
    assert (config.model, config.engine.mmap) == ('a "b"\\c.gguf', False)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--n-cpu-moe 3", "llmd places whole layers by its own plan"),
        ("-fitt 512", "llmd places whole layers by its own plan"),
        ("--no-kv-offload", "llmd places whole layers by its own plan"),
        ("--numa distribute", "the system places threads on cores"),
        ("--wobble", "it has no meaning here"),
    ],
)
def test_what_is_left_out_has_its_reason(line: str, why: str) -> None:
    (note,) = from_flags(line.split()).skipped
    assert note.startswith(f"{line}: {why}")
