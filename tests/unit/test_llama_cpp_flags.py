"""Command lines of llama.cpp as settings: each flag gives settings, or a reason why not."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from llmd.cli.llama_cpp_flags import FLAGS, as_toml, flags_for_key, from_flags
from llmd.config.parse import keys, parse

R1 = """./llama.cpp/llama-cli --model DeepSeek-R1-UD-IQ1_S/DeepSeek-R1-UD-IQ1_S-00001-of-00003.gguf
 --cache-type-k q4_0 --threads 16 --prio 2 --temp 0.6 --ctx-size 8192 --seed 3407
 --n-gpu-layers 59 -no-cnv --prompt "<|User|>Create a game in Python.<|Assistant|>" """


def parsed(line: str) -> tuple[dict[str, Any], list[str]]:
    """The settings, and the flags that set nothing."""
    flags = from_flags(shlex.split(line))
    return flags.settings, [reason.partition(": ")[0] for reason in flags.skipped]


def test_the_line_that_the_issue_names() -> None:
    settings, skipped = parsed(R1)
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
    assert skipped == ["-no-cnv", "--prompt <|User|>Create a game in Python.<|Assistant|>"]
    config = parse(as_toml(settings), "c")
    assert (config.engine.n_ctx, config.sampling.seed, config.engine.prio) == (8192, 3407, 2)


@pytest.mark.parametrize(
    ("line", "settings", "skipped"),
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
def test_a_flag_gives_settings_or_is_skipped(
    line: str, settings: dict[str, Any], skipped: list[str]
) -> None:
    assert parsed(line) == (settings, skipped)


def test_each_flag_has_a_key_of_the_config() -> None:
    assert {flag.key for flag in FLAGS} <= keys().keys()
    assert flags_for_key("engine.n_gpu_layers") == ("-ngl", "--gpu-layers", "--n-gpu-layers")
    assert flags_for_key("completion.recall") == ()


def test_a_text_is_quoted_as_toml() -> None:
    settings = {"model": 'a "b"\\c.gguf', "engine.mmap": False}
    config = parse(as_toml(settings), "c")
    assert (config.model, config.engine.mmap) == ('a "b"\\c.gguf', False)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        *((line, "llmd has no setting for this flag") for line in (
            "--n-cpu-moe 3", "-fitt 512", "--no-kv-offload", "--numa distribute", "--wobble",
            "--port 80", "--lora x", "--jinja", "--cache-reuse 1", "-md y",
        )),
        ("-c many", "`many` is not a number"),
        ("-ts a,b", "`a,b` is not a list of numbers"),
        ("-c", "the value is missing"),
        ("-t -1", "llmd chooses the value itself"),
        ("-s -1", "llmd has no random seed: "),
        ("-cram -1", "llmd always limits this memory"),
        ("-cram 1.5", "`1.5` is not a whole number"),
    ],
)  # fmt: skip
def test_a_flag_that_sets_nothing_has_its_reason(line: str, reason: str) -> None:
    flags = from_flags(line.split())
    assert flags.settings == {}
    (skipped,) = flags.skipped
    assert skipped.startswith(f"{line}: {reason}")


@pytest.mark.parametrize(
    "value", ["1.5", "nan", "inf", "-inf", "1e400", "9" * 40, "x", "", "\u0665", "1,nan"]
)
def test_any_value_of_a_flag_is_taken_or_named(value: str) -> None:
    for name in (name for flag in FLAGS for name in flag.names):
        flags = from_flags([name, value])
        parse(as_toml(flags.settings), "c")
        assert flags.settings or flags.skipped
