"""Defaults that others rely on, and the sentence for each kind of mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmd.config import Config, load, parse
from llmd.errors import BadInput

DEFAULTS: dict[str, Any] = {
    "model": "builtin",
    "sampling.profile": "low",
    "sampling.temperature": 0.2,
    "sampling.min_p": 0.1,
    "sampling.seed": 3407,
    "completion.max_tokens": 64,
    "completion.max_lines": 8,
    "completion.max_line_suffix": 8,
    "completion.deadline_ms": 1500,
    "fim.order": "auto",
    "engine.n_ctx": "auto",
    "engine.n_gpu_layers": "all",
    "engine.mmap": True,
}


@pytest.fixture(autouse=True)
def _no_model_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMD_MODEL", raising=False)


@pytest.mark.parametrize(("key", "expected"), DEFAULTS.items(), ids=DEFAULTS)
def test_a_key_has_its_default(key: str, expected: object) -> None:
    found: Any = msgspec.to_builtins(parse("", "config.toml"))
    for part in key.split("."):
        found = found[part]
    assert found == expected


def test_a_value_of_the_file_is_taken() -> None:
    config = parse('model = "/m.gguf"\n[engine]\nn_gpu_layers = 0\n', "config.toml")
    assert (config.model, config.engine.n_gpu_layers) == ("/m.gguf", 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("modell = 'x'", "`modell`"),
        ("[sampling]\ntemprature = 1.0", "unknown field `temprature` - at `$.sampling`"),
        ("[sampling]\nprofile = 'hot'", "$.sampling.profile"),
        ("[sampling]\ntemperature = 0", "$.sampling.temperature"),
        ("[sampling]\ntemperature = nan", "$.sampling.temperature"),
        ("[sampling]\nmin_p = 1.5", "$.sampling.min_p"),
        ("[sampling]\nseed = 99999999999999999999", "$.sampling.seed"),
        ("[completion]\nmax_tokens = 0", "Expected `int` >= 1 - at `$.completion.max_tokens`"),
        (
            "[completion]\nmax_tokens = 'many'",
            "Expected `int`, got `str` - at `$.completion.max_tokens`",
        ),
        ("[completion]\nmax_lines = true", "$.completion.max_lines"),
        ("[completion]\nsecret_files = [1]", "$.completion.secret_files[0]"),
        ("[fim]\norder = 'mid'", "$.fim.order"),
        ("[context]\nn_prefix = 3", "$.context.n_prefix"),
        ("[engine]\nn_ctx = 'big'", "$.engine.n_ctx"),
        ("[engine]\ncache_type_k = 'q2'", "$.engine.cache_type_k"),
        ("engine = 3", "$.engine"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(text: str, told: str) -> None:
    with pytest.raises(BadInput) as error:
        parse(text, "the-file.toml")
    assert str(error.value).startswith("Config `the-file.toml`: ")
    assert told in str(error.value)
    assert str(error.value).endswith("; correct it or remove the line")


def test_no_toml_is_told() -> None:
    with pytest.raises(BadInput, match=r"^Config `a.toml`: "):
        parse("[sampling", "a.toml")


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path / "config.toml") == Config()


def test_the_environments_model_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    path.write_text('model = "/a.gguf"\n[completion]\nmax_lines = 2\n')
    monkeypatch.setenv("LLMD_MODEL", "/b.gguf")
    assert (load(path).model, load(path).completion.max_lines) == ("/b.gguf", 2)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["a folder", "not UTF-8"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "config.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(BadInput, match=r"config.toml` cannot be read: "):
        load(path)
