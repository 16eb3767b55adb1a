"""Parses TOML into a Config. Pure.

An error names file, line, key, value and expected values, and the known key that is most similar to
an unknown key.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from llmd.config import Config
from llmd.errors import BadInput, printable

_SHOWN_CHARS = 60
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Strings and comments, whose brackets and line breaks are not part of the syntax; then brackets and
# line breaks.
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"""+|\'{3}.*?\'{3,}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*|[][{}\n]''',
    re.S,
)
_KEY_PART = r"""(?:"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[\w-]+)"""
_KEY_OR_HEADER = re.compile(rf"\s*(\[*)\s*({_KEY_PART}(?:\s*\.\s*{_KEY_PART})*)")


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """Describes one key of the configuration, from the classes in `schema`."""

    name: str  # "sampling.min_p"
    default: Any
    allowed: str  # "a number from 0 to 1"
    unit: str
    reason: str


@cache
def keys() -> dict[str, ConfigKey]:
    """Returns all keys by name, in the order of the schema."""
    schema = msgspec.json.schema(Config)["$defs"]
    by_name: dict[str, ConfigKey] = {}
    for name, field in schema["Config"]["properties"].items():
        if "$ref" not in field:
            by_name[name] = _key(name, field)
            continue
        section = schema[field["$ref"].rpartition("/")[2]]
        for leaf, leaf_field in section["properties"].items():
            by_name[f"{name}.{leaf}"] = _key(f"{name}.{leaf}", leaf_field)
    return by_name


def sections() -> set[str]:
    return {name.partition(".")[0] for name in keys() if "." in name}


def parse(text: str, subject: str) -> Config:
    """Parses a config. `subject` names the file in errors.

    Raises:
        BadInput: invalid TOML, an unknown key, or a value of the wrong type or out of range.
    """
    config, _ = parse_with_keys(text, subject)
    return config


def parse_with_keys(text: str, subject: str) -> tuple[Config, set[str]]:
    """Parses a config like `parse`. Also returns the names of the keys that the text sets."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"Config `{subject}` {_toml_problem(error)}; correct it") from None
    names = set()
    for name, value in _iter_settings(data):
        if problem := find_problem(name, value):
            raise BadInput(f"Config `{subject}`{_find_line(name, text)}: {problem}")
        names.add(name)
    return msgspec.convert(data, Config), names


def _toml_problem(error: Exception) -> str:
    if isinstance(error, tomllib.TOMLDecodeError):
        return f"is not valid TOML: {error}"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    # The message of int() names a setting of the Python interpreter.
    return "has a number with more than 4300 digits"


def find_problem(name: str, value: Any) -> str:
    """Returns what is wrong with a key or its value; empty: both are valid."""
    if name in sections():
        return f"`{name}` is {_format_value(value)}, expected a section `[{name}]`"
    if name not in keys():
        known = [*keys()] if "." in name else [*keys(), *sections()]
        near = difflib.get_close_matches(name, known, 1, 0.6)
        hint = f"did you mean `{near[0]}`?" if near else "`llmd config` lists all keys"
        return f"`{_shorten(name)}` is not a known key; {hint}"
    section, _, leaf = name.rpartition(".")
    try:
        msgspec.convert({section: {leaf: value}} if section else {leaf: value}, Config)
    except (msgspec.ValidationError, RecursionError, OverflowError):
        subject, allowed = f"`{name}` is {_format_value(value)}", keys()[name].allowed
        return f"{subject}, expected {allowed}; correct it or remove the line"
    return ""


def _iter_settings(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict) and name in sections():
            yield from ((_join_key(name, leaf), inner) for leaf, inner in value.items())
        else:
            yield _join_key(name), value


def _join_key(*parts: str) -> str:
    """Joins the parts of a key as TOML writes them: `"a.b"` is one part, `a.b` are two."""
    bare = (part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in parts)
    return ".".join(bare)


def _find_line(name: str, text: str) -> str:
    """Returns the line of a key, or of the inline table that contains the key, as `, line 3`."""
    at = -1
    for start, key in _statements(text):
        if f"{key}.".startswith(f"{name}."):
            at = start
            break
        if name.startswith(f"{key}."):
            at = start
    return f", line {text.count(chr(10), 0, at) + 1}" if at >= 0 else ""


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yields the offset and the whole name of each key and table header of valid TOML."""
    start = depth = 0
    header: list[str] = []
    for token in _TOKEN.finditer(text + "\n"):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if token[0] != "\n" or depth:
            continue
        if head := _KEY_OR_HEADER.match(text, start, token.start()):
            path = _split_key(head[2])
            yield head.start(2), _join_key(*([] if head[1] else header), *path)
            header = path if head[1] else header
        start = token.end()


def _split_key(head: str) -> list[str]:
    """Splits a dotted key: `a."b.c"` becomes `a`, `b.c`."""
    rest: Any = tomllib.loads(f"{head} = 0")
    parts = []
    while isinstance(rest, dict):
        ((part, rest),) = rest.items()
        parts.append(part)
    return parts


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a very large number"  # str() refuses more than 4,300 digits
    try:
        return _shorten(f'"{value}"' if isinstance(value, str) else str(value))
    except (RecursionError, ValueError):
        return "a value that cannot be shown"


def _shorten(text: str) -> str:
    shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
    return printable(shown)


def _key(name: str, field: dict[str, Any]) -> ConfigKey:
    return ConfigKey(
        name, field["default"], _describe_allowed(field), field["unit"], field["description"]
    )


def _describe_allowed(field: dict[str, Any]) -> str:
    """Describes the allowed values of a field for a message, such as `a number from 0 to 1`."""
    if "anyOf" in field:
        return " or ".join(_describe_allowed(part) for part in field["anyOf"])
    if "enum" in field:
        return " or ".join(f'"{value}"' for value in field["enum"])
    if field["type"] == "array":
        is_number = field.get("items", {}).get("type") == "number"
        return "a list of numbers" if is_number else "a list of strings"
    if field["type"] in ("integer", "number"):
        kind = "a whole number" if field["type"] == "integer" else "a number"
        low = field.get("minimum", field.get("exclusiveMinimum"))
        start = f"above {low} and up" if "exclusiveMinimum" in field else f"from {low}"
        return f"{kind} {start} to {field['maximum']}"
    return {"boolean": "true or false", "string": "a name or path"}[field["type"]]
