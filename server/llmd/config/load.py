"""Loads the settings from flags, environment, file and defaults, in this order of precedence.

Reads and writes the config file. The only importer of tomlkit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from llmd import paths
from llmd.config import Config
from llmd.config.parse import find_problem, keys, parse_with_keys
from llmd.errors import BadInput
from llmd.files import read_regular, write_whole

Source = Literal["default", "file", "environment", "flag"]

MODEL_VARIABLE = "LLMD_MODEL"
MAX_FILE_BYTES = 1 << 20
MAX_SHOWN_CHARS = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """Holds the configuration in effect and the source of each value."""

    config: Config
    sources: Mapping[str, Source]  # by key; a missing key has its default value
    path: Path


class SettingRow(msgspec.Struct, frozen=True):
    """Describes one setting in effect.

    key: name of the setting, for example `sampling.min_p`
    value: value in effect
    default: value without any setting
    unit: unit of the value; may be empty
    source: origin of the value: `default`, `file`, `environment` or `flag`
    description: what the setting does
    """

    key: str
    value: Any
    default: Any
    unit: str
    source: Source
    description: str


class SettingsReport(msgspec.Struct, frozen=True):
    """Lists the settings in effect.

    path: the config file
    rows: all settings, in CONFIG.md's order
    """

    path: str
    rows: tuple[SettingRow, ...]


def load_settings(path: Path | None = None, flags: Sequence[str] = ()) -> Settings:
    """Loads the config file if it exists, then applies LLMD_MODEL, then the flags `KEY=VALUE`.

    Raises:
        BadInput: the file cannot be read, or the file, LLMD_MODEL or a flag is invalid.
    """
    path = path or paths.config_path()
    config, file_keys = parse_with_keys(read_text(path), str(path))
    sources: dict[str, Source] = dict.fromkeys(file_keys, "file")
    if model := os.environ.get(MODEL_VARIABLE):
        if problem := find_problem("model", model):
            raise BadInput(f"Environment variable {MODEL_VARIABLE}: {problem}")
        config = _replace_value(config, "model", model)
        sources["model"] = "environment"
    for flag in flags:
        key, value = _parse_flag(flag)
        config = _replace_value(config, key, value)
        sources[key] = "flag"
    return Settings(config, sources, path)


def needs_reload(old: Config, new: Config) -> bool:
    """Returns whether the change needs a new worker. Other changes apply with the next request."""
    idle = msgspec.structs.replace(old.engine, idle_unload_s=new.engine.idle_unload_s)
    return (old.model, idle, old.kv, old.fim.order) != (
        new.model, new.engine, new.kv, new.fim.order
    )  # fmt: skip


def report_settings(settings: Settings) -> SettingsReport:
    """Returns the result of the method `llmd/config`, as described in docs/PROTOCOL.md."""
    values = msgspec.to_builtins(settings.config)
    rows = []
    for key in keys().values():
        section, _, leaf = key.name.rpartition(".")
        value = (values[section] if section else values)[leaf]
        source = settings.sources.get(key.name, "default")
        rows.append(SettingRow(key.name, value, key.default, key.unit, source, key.reason))
    return SettingsReport(str(settings.path), tuple(rows))


def set_key(path: Path, key: str, value: Any) -> None:
    """Changes one key of the config file and leaves the rest of the file as it is.

    Invariant: the file is replaced atomically.

    Raises:
        BadInput: key or value is invalid, the file is already invalid, or it cannot be written.
    """
    if problem := find_problem(key, value):
        raise BadInput(f"Setting {problem}")
    text = read_text(path)
    config, _ = parse_with_keys(text, str(path))
    changed = _set_in_toml(text, key, value)
    try:
        is_done = parse_with_keys(changed, str(path))[0] == _replace_value(config, key, value)
    except BadInput:
        is_done = False
    if not is_done:
        raise BadInput(
            f"Config `{path}` has a layout in which `{key}` cannot be set; edit the file"
        )
    _write_atomically(path, changed)


def restore_text(path: Path, changed: str, before: str) -> bool:
    """Writes `before` if the file still contains `changed`. Returns whether it wrote the file.

    Raises:
        BadInput: the file cannot be read or written.
    """
    if read_text(path) != changed:
        return False
    _write_atomically(path, before)
    return True


def _set_in_toml(text: str, key: str, value: Any) -> str:
    """Returns the text with one key changed; empty: tomlkit cannot change the key."""
    import tomlkit  # importing it takes as long as all of `llmd status`
    from tomlkit.exceptions import TOMLKitError

    section, _, leaf = key.rpartition(".")
    try:
        document = tomlkit.parse(text)
        table: Any = document.setdefault(section, tomlkit.table()) if section else document
        table[leaf] = value
        return tomlkit.dumps(document)
    except (TOMLKitError, ValueError, RecursionError):
        return ""


def read_text(path: Path) -> str:
    """Returns the text of the config file; empty: the file does not exist.

    Raises:
        BadInput: the file cannot be read, is too large, or is not UTF-8 text.
    """
    try:
        status = path.stat()  # before opening, since opening a pipe would block
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"Config `{path}` is not a file; remove it")
        if status.st_size > MAX_FILE_BYTES:
            raise BadInput(
                f"Config `{path}` has {status.st_size} bytes, expected at most {MAX_FILE_BYTES};"
                " check the path"
            )
        return read_regular(path).decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise BadInput(
            f"Config `{path}` is not UTF-8 text (byte {error.start}); convert it"
        ) from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise BadInput(f"Config `{path}` cannot be read: {cause}") from None


def _write_atomically(path: Path, text: str) -> None:
    """Replaces the file, or the target of a link, by a new file with the old file's mode.

    Raises:
        BadInput: the file cannot be written.
    """
    try:
        target = path.resolve()
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(target, text.encode())
    except OSError as error:
        raise BadInput(f"Config `{path}` cannot be written: {error.strerror}") from None


def _parse_flag(flag: str) -> tuple[str, Any]:
    """Parses `KEY=VALUE`. The value is a TOML value, or a string without quotes."""
    import tomllib

    key, equals, text = flag.partition("=")
    if not equals:
        raise BadInput(f"Setting `{flag}` is not KEY=VALUE, for example `completion.max_lines=4`")
    try:
        data = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        data = {}
    value = data["value"] if data.keys() == {"value"} else text
    if problem := find_problem(key, value):
        if not find_problem(key, text):  # a model named `123`
            return key, text
        raise BadInput(f"Setting `{flag[:MAX_SHOWN_CHARS]}`: {problem}")
    return key, value


def _replace_value(config: Config, key: str, value: Any) -> Config:
    """Returns the config with one value replaced.

    Invariant: the caller checked key and value with `find_problem`.
    """
    values = msgspec.to_builtins(config)
    section, _, leaf = key.rpartition(".")
    (values[section] if section else values)[leaf] = value
    return msgspec.convert(values, Config)
