"""TOML to a Config, and what a person is told when that fails: file, line, key, what was got, what
was expected, and the key that was meant. Pure."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from llmd.config import Config
from llmd.errors import BadInput

_SHOWN_CHARS = 60
_HEADER = re.compile(r"\s*\[\s*([\w.-]+)\s*\]")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")


@dataclass(frozen=True, slots=True)
class Key:
    """One setting, from the tree in config."""

    name: str  # "sampling.min_p"
    default: Any
    allowed: str  # "a number from 0 to 1"
    unit: str
    reason: str


@cache
def keys() -> dict[str, Key]:
    """All settings in the tree's order."""
    schema = msgspec.json.schema(Config)["$defs"]
    found: dict[str, Key] = {}
    for name, field in schema["Config"]["properties"].items():
        if "$ref" not in field:
            found[name] = _key(name, field)
            continue
        section = schema[field["$ref"].rpartition("/")[2]]
        for leaf, leaf_field in section["properties"].items():
            found[f"{name}.{leaf}"] = _key(f"{name}.{leaf}", leaf_field)
    return found


def sections() -> set[str]:
    return {name.partition(".")[0] for name in keys() if "." in name}


def parse(text: str, subject: str) -> Config:
    """
    Raises:
        BadInput: no TOML, an unknown key, or a value of the wrong type or out of range.
    """
    config, _ = parse_with_keys(text, subject)
    return config


def parse_with_keys(text: str, subject: str) -> tuple[Config, set[str]]:
    """And the names of the keys that the text sets."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        said = (
            "is nested too deeply" if isinstance(error, RecursionError) else f"is no TOML: {error}"
        )
        raise BadInput(f"Config `{subject}` {said}; correct it") from None
    named = set()
    for name, value in _leaves(data):
        if problem := problem_of(name, value):
            raise BadInput(f"Config `{subject}`{_line_of(name, text)}: {problem}")
        named.add(name)
    return msgspec.convert(data, Config), named


def problem_of(name: str, value: Any) -> str:
    """What is wrong with a key and its value; empty where nothing is."""
    if name in sections():
        return f"`{name}` is {_shown(value)}, expected a section `[{name}]`"
    if name not in keys():
        near = difflib.get_close_matches(name, [*keys(), *sections()], 1, 0.6)
        hint = f"did you mean `{near[0]}`?" if near else "docs/CONFIG.md has them all"
        return f"`{_cut(name)}` is no key; {hint}"
    section, _, leaf = name.rpartition(".")
    try:
        msgspec.convert({section: {leaf: value}} if section else {leaf: value}, Config)
    except (msgspec.ValidationError, RecursionError, OverflowError):
        allowed = keys()[name].allowed
        return f"`{name}` is {_shown(value)}, expected {allowed}; correct it or remove the line"
    return ""


def _leaves(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict) and name in sections():
            yield from ((f"{name}.{leaf}", inner) for leaf, inner in value.items())
        else:
            yield name, value


def _line_of(name: str, text: str) -> str:
    """`, line 3`; empty where the key is written in another way than one to a line."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = f"{header[1]}."
            if header[1] == name:
                return f", line {number}"
        elif (key := _KEY.match(line)) and section + key[1].replace('"', "") == name:
            return f", line {number}"
    return ""


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a very large number"  # str() refuses more than 4,300 digits
    try:
        return _cut(f'"{value}"' if isinstance(value, str) else str(value))
    except (RecursionError, ValueError):
        return "something else"


def _cut(text: str) -> str:
    shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)


def _key(name: str, field: dict[str, Any]) -> Key:
    return Key(name, field["default"], _allowed(field), field["unit"], field["description"])


def _allowed(field: dict[str, Any]) -> str:
    """The range or the values, as a person says them."""
    if "anyOf" in field:
        return " or ".join(_allowed(part) for part in field["anyOf"])
    if "enum" in field:
        return " or ".join(f'"{value}"' for value in field["enum"])
    if field["type"] == "array":
        return "a list of texts"
    if field["type"] in ("integer", "number"):
        kind = "a whole number" if field["type"] == "integer" else "a number"
        low = field.get("minimum", field.get("exclusiveMinimum"))
        start = f"over {low}" if "exclusiveMinimum" in field else f"from {low}"
        return f"{kind} {start} to {field['maximum']}"
    return {"boolean": "true or false", "string": "a text"}[field["type"]]
