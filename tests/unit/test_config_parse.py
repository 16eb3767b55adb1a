"""Tests defaults that other code relies on, and the message for each kind of mistake (row 45)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools import config_doc

from llmd.config.parse import keys, parse
from llmd.errors import BadInput

DEFAULTS: dict[str, Any] = {
    "model": "builtin",
    "background": "mains",
    "sampling.profile": "low",
    "sampling.temperature": 0.2,
    "sampling.min_p": 0.1,
    "sampling.seed": 3407,
    "completion.max_tokens": 64,
    "completion.max_lines": 8,
    "completion.max_line_suffix": 8,
    "completion.deadline_ms": 1500,
    "completion.debounce_ms": 0,
    "fim.order": "auto",
    "engine.n_ctx": "auto",
    "engine.n_gpu_layers": "all",
    "engine.mmap": True,
    "engine.idle_unload_s": 1800,
}


@pytest.mark.parametrize(("key", "expected"), DEFAULTS.items(), ids=DEFAULTS)
def test_a_key_has_its_default(key: str, expected: object) -> None:
    value: Any = msgspec.to_builtins(parse("", "config.toml"))
    for part in key.split("."):
        value = value[part]
    assert value == expected == keys()[key].default


def test_every_key_has_a_description() -> None:
    assert all(key.reason and key.allowed for key in keys().values())


def test_the_page_of_the_settings_is_of_this_tree() -> None:
    page = Path(__file__).parents[2] / "docs" / "CONFIG.md"
    assert page.read_text() == config_doc.text(), "run tools/config_doc.py > docs/CONFIG.md"


def test_a_value_in_the_file_is_used() -> None:
    config = parse('model = "/m.gguf"\n[engine]\nn_gpu_layers = 0\n', "config.toml")
    assert (config.model, config.engine.n_gpu_layers) == ("/m.gguf", 0)


# The text, the line, and the message.
MEANT = "{} is not a known key; did you mean {}?"
MANY = "a whole number from 1 to 512"
WRONG: dict[str, tuple[str, int | None, str]] = {
    "model": ("modell = 'x'", 1, MEANT.format("`modell`", "`model`")),
    "a letter": (
        "\n[sampling]\n# warm\ntemprature = 1.0",
        4,
        MEANT.format("`sampling.temprature`", "`sampling.temperature`"),
    ),
    "a section": (
        "[samplign]\nseed = 1", 1, MEANT.format("`samplign`", "`sampling`"),
    ),
    "a dash": (
        "[engine]\nn-ctx = 512", 2, MEANT.format("`engine.n-ctx`", "`engine.n_ctx`"),
    ),
    "dotted": (
        "completion.max_line = 1",
        1,
        MEANT.format("`completion.max_line`", "`completion.max_lines`"),
    ),
    "wrong section": (
        "[engine]\nmax_tokens = 3",
        2,
        MEANT.format("`engine.max_tokens`", "`completion.max_tokens`"),
    ),
    "nothing near": ("xyzzy = 1", 1, "`xyzzy` is not a known key; `llmd config` lists all keys"),
    "escape": ('"\\u001b[2J" = 1', 1, '`"\\u001b[2J"` is not a known key; `llmd config`'),
    "a dot that is quoted": (
        '"sampling.seed" = 1', 1, MEANT.format('`"sampling.seed"`', "`sampling.seed`"),
    ),
    "a header that is quoted": ('["sampling.seed"]', 1, '`"sampling.seed"` is not a known key'),
    "inline": ("\nsampling = { seed = -1 }", 2, "`sampling.seed` is -1"),
    "spaces": ("completion . max_tokens = 0", 1, "`completion.max_tokens` is 0"),
    "single quotes": ("[completion]\n'max_tokens' = 0", 2, "`completion.max_tokens` is 0"),
    "below what looks alike": (
        'model = """\n[completion]\nmax_tokens = 3\n"""\n[completion]\nmax_tokens = 0',
        6,
        "`completion.max_tokens` is 0",
    ),
    "below a list of many lines": (
        "completion.secret_files = [\n  'a]', # [\n  'model',\n]\nmodel = ''", 5, '`model` is ""',
    ),
    "no file's name": ('model = "a\\u0000"', 1, '`model` is "a\\x00", expected a name or path'),
    "too many digits": (f"model = {'9' * 5000}", None, "has a number with more than 4300 digits"),
    "digits in hex": (f"[sampling]\nseed = 0x{'f' * 9000}", 2, "is a very large number"),
    "profile": (
        "[sampling]\nprofile = 'hot'",
        2,
        '`sampling.profile` is "hot", expected "greedy" or "low"; correct it or remove the line',
    ),
    "too low": (
        "[completion]\nmax_tokens = 0",
        2,
        f"`completion.max_tokens` is 0, expected {MANY}; correct it or remove the line",
    ),
    "too high": ("[completion]\nmax_tokens = 513", 2, f"is 513, expected {MANY}"),
    "a text": ("[completion]\nmax_tokens = 'many'", 2, f'is "many", expected {MANY}'),
    "a truth": ("[completion]\nmax_tokens = true", 2, f"is true, expected {MANY}"),
    "a fraction": ("[completion]\nmax_tokens = 1.5", 2, f"is 1.5, expected {MANY}"),
    "a list": ("[completion]\nmax_tokens = [1]", 2, f"is [1], expected {MANY}"),
    "a table": ("[completion.max_tokens]\na = 1", 1, f"is a section, expected {MANY}"),
    "a date": ("[completion]\nmax_tokens = 2026-01-01", 2, f"is 2026-01-01, expected {MANY}"),
    "nan": ("[sampling]\ntemperature = nan", 2, "is nan, expected a number above 0 and up to 2"),
    "inf": ("[sampling]\ntemperature = inf", 2, "is inf, expected a number above 0 and up to 2"),
    "zero": ("[sampling]\ntemperature = 0", 2, "is 0, expected a number above 0 and up to 2"),
    "over one": ("[sampling]\nmin_p = 1.5", 2, "is 1.5, expected a number from 0 to 1"),
    "below zero": ("[sampling]\nmin_p = -0.1", 2, "is -0.1, expected a number from 0 to 1"),
    "huge": ("[sampling]\nseed = 99999999999999999999", 2, "is a very large number, expected"),
    "huger": (f"[sampling]\nseed = {'9' * 4000}", 2, "is a very large number, expected"),
    "below": ("[sampling]\nseed = -1", 2, "is -1, expected a whole number from 0 to"),
    "lines": ("[completion]\nmax_lines = 65", 2, "expected a whole number from 1 to 64"),
    "suffix": ("[completion]\nmax_line_suffix = -1", 2, "a whole number from 0 to 10000"),
    "deadline": ("[completion]\ndeadline_ms = 5", 2, "a whole number from 10 to 600000"),
    "debounce": ("[completion]\ndebounce_ms = 9999", 2, "a whole number from 0 to 2000"),
    "numbers in a list": ("[completion]\nsecret_files = [1]", 2, "expected a list of strings"),
    "a list as a text": ("[completion]\ndisabled_filetypes = 'c'", 2, "expected a list of strings"),
    "order": ("[fim]\norder = 'mid'", 2, 'expected "auto" or "psm" or "spm"'),
    "prefix": ("[context]\nn_prefix = 3", 2, "expected a whole number from 16 to 131072"),
    "file size": ("[context]\nmax_file_bytes = 0", 2, "a whole number from 1 to 1073741824"),
    "n_ctx": (
        "[engine]\nn_ctx = 'big'", 2, 'expected a whole number from 256 to 1048576 or "auto"',
    ),
    "layers": ("[engine]\nn_gpu_layers = 'some'", 2, 'from 0 to 10000 or "all"'),
    "threads": ("[engine]\nthreads = 0", 2, 'expected a whole number from 1 to 1024 or "auto"'),
    "batch": ("[engine]\nn_batch = 9999", 2, 'expected a whole number from 1 to 4096 or "auto"'),
    "flash": ("[engine]\nflash_attn = 'yes'", 2, 'expected true or false or "auto"'),
    "cache": ("[engine]\ncache_type_k = 'q2'", 2, '"f16" or "q4_0" or "q8_0" or "auto"'),
    "mmap": ("[engine]\nmmap = 1", 2, "`engine.mmap` is 1, expected true or false"),
    "idle": ("[engine]\nidle_unload_s = -5", 2, "expected a whole number from 0 to 604800"),
    "background": ("background = 'often'", 1, 'expected "mains" or "off" or "on"'),
    "no model": ("model = ''", 1, '`model` is "", expected a name or path'),
    "model as a list": ("model = ['a']", 1, "expected a name or path"),
    "section as a value": ("engine = 3", 1, "`engine` is 3, expected a section `[engine]`"),
    "section as a list": ("\n[[engine]]", 2, "expected a section `[engine]`"),
    "section twice": ("[engine]\n[engine]", None, "is not valid TOML: "),
    "no end": ("[sampling", None, "is not valid TOML: "),
    "no value": ("[sampling]\nseed =", None, "valid TOML: Invalid value (at end of document)"),
    "no key": ("= 3", None, "is not valid TOML: "),
    "no quotes": ("model = /x.gguf", None, "is not valid TOML: "),
    "twice": ("model = 'a'\nmodel = 'b'", None, "is not valid TOML: "),
    "a NUL": ("model = 'a\0'", None, "is not valid TOML: "),
    "deep": ("model = " + "[" * 9000, None, "is nested too deeply; correct it"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_names_file_line_and_key(text: str, line: int | None, message: str) -> None:
    with pytest.raises(BadInput) as error:
        parse(text, "the-file.toml")
    report = str(error.value)
    assert report.startswith(
        f"Config `the-file.toml`, line {line}: `" if line else "Config `the-file.toml`"
    )
    assert message in report
    assert "\n" not in report
    assert len(report) < 300


def check(text: str) -> None:
    """Checks that any text gives either a config or one message."""
    report = ""
    try:
        parse(text, "a.toml")
    except BadInput as error:
        report = str(error)
    assert not report or (report.startswith("Config `a.toml`") and "\n" not in report)


TOML = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=3,
)


@given(st.sampled_from([*keys(), "engine", "x", "engine.x"]), TOML)
def test_any_value_of_any_key_is_accepted_or_reported(key: str, value: Any) -> None:
    import tomlkit

    section, _, leaf = key.rpartition(".")
    try:
        text = tomlkit.dumps({section: {leaf: value}} if section else {leaf: value})
    except (ValueError, TypeError):
        return  # TOML cannot express this text
    check(text)


@given(st.text())
def test_any_text_is_accepted_or_reported(text: str) -> None:
    check(text)
