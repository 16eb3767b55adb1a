"""The settings in force, and where each came from: flag over environment over file over default.

Reads and writes the one config file. The only importer of tomlkit.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from llmd import paths
from llmd.config import Config
from llmd.config.parse import find_problem, keys, parse_with_keys
from llmd.errors import BadInput

Source = Literal["default", "file", "environment", "flag"]

MODEL_VARIABLE = "LLMD_MODEL"
MAX_FILE_BYTES = 1 << 20
MAX_SHOWN_CHARS = 100


@dataclass(frozen=True, slots=True)
class Settings:
    config: Config
    sources: Mapping[str, Source]  # by key; the default where a key is missing
    path: Path


class SettingRow(msgspec.Struct, frozen=True):
    key: Annotated[str, Meta(description="name of the setting, for example `sampling.min_p`")]
    value: Annotated[Any, Meta(description="value in effect")]
    default: Annotated[Any, Meta(description="value without any setting")]
    unit: Annotated[str, Meta(description="unit of the value; may be empty")]
    source: Annotated[
        Source,
        Meta(description="origin of the value: `default`, `file`, `environment` or `flag`"),
    ]
    description: Annotated[str, Meta(description="what the setting does")]


class SettingsReport(msgspec.Struct, frozen=True):
    path: Annotated[str, Meta(description="the config file")]
    rows: Annotated[tuple[SettingRow, ...], Meta(description="all settings, in CONFIG.md's order")]


def load_settings(path: Path | None = None, flags: Sequence[str] = ()) -> Settings:
    """The file, or the defaults where there is none; then LLMD_MODEL; then flags `KEY=VALUE`.

    Raises:
        BadInput: the file can't be read, or it or a flag is wrong.
    """
    path = path or paths.config_path()
    config, named = parse_with_keys(read_text(path), str(path))
    sources: dict[str, Source] = dict.fromkeys(named, "file")
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
    """Whether another worker is needed, or the next request can follow the new settings."""
    idle = msgspec.structs.replace(old.engine, idle_unload_s=new.engine.idle_unload_s)
    return (old.model, idle, old.kv, old.fim.order) != (
        new.model, new.engine, new.kv, new.fim.order
    )  # fmt: skip


def report_settings(settings: Settings) -> SettingsReport:
    values = msgspec.to_builtins(settings.config)
    rows = []
    for key in keys().values():
        section, _, leaf = key.name.rpartition(".")
        value = (values[section] if section else values)[leaf]
        source = settings.sources.get(key.name, "default")
        rows.append(SettingRow(key.name, value, key.default, key.unit, source, key.reason))
    return SettingsReport(str(settings.path), tuple(rows))


def set_key(path: Path, key: str, value: Any) -> None:
    """Changes one key of the config file, and nothing else of it. The file is whole at any time.

    Raises:
        BadInput: key or value is wrong, the file is wrong already, or it can't be written.
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
        raise BadInput(f"Config `{path}` is laid out so that `{key}` can't be set; set it by hand")
    try:
        _write_atomically(path.resolve(), changed)
    except OSError as error:
        raise BadInput(f"Config `{path}` cannot be written: {error.strerror}") from None


def text_of(path: Path) -> str:
    """Empty where there is no file.

    Raises:
        BadInput: it can't be read.
    """
    return read_text(path)


def restore_text(path: Path, changed: str, before: str) -> bool:
    """Writes `before` where the file still says `changed`. Whether it did.

    Raises:
        BadInput: it can't be written.
    """
    if read_text(path) != changed:
        return False
    try:
        _write_atomically(path.resolve(), before)
    except OSError as error:
        raise BadInput(f"Config `{path}` cannot be written: {error.strerror}") from None
    return True


def _set_in_toml(text: str, key: str, value: Any) -> str:
    """Empty where tomlkit can't."""
    import tomlkit  # takes as long to import as a status to print
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
    """Empty where there is no file. Looked at before it is opened: opening a pipe would wait."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BadInput(f"Config `{path}` is not a file; remove it")
        if found.st_size > MAX_FILE_BYTES:
            raise BadInput(
                f"Config `{path}` has {found.st_size} bytes, expected at most {MAX_FILE_BYTES};"
                " it is something else"
            )
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise BadInput(
            f"Config `{path}` is not UTF-8 text (byte {error.start}); convert it"
        ) from None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise BadInput(f"Config `{path}` cannot be read: {said}") from None


def _write_atomically(path: Path, text: str) -> None:
    """By another file that takes the name, with the old one's mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as new:
        try:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
            with suppress(FileNotFoundError):
                os.fchmod(new.fileno(), stat.S_IMODE(path.stat().st_mode))
            os.replace(new.name, path)
        except BaseException:
            os.unlink(new.name)
            raise


def _parse_flag(flag: str) -> tuple[str, Any]:
    """`KEY=VALUE`, the value as in TOML, or a text without its quotes."""
    import tomllib

    key, equals, text = flag.partition("=")
    if not equals:
        raise BadInput(f"Setting `{flag}` is not KEY=VALUE, for example `completion.max_lines=4`")
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        found = {}
    value = found["value"] if found.keys() == {"value"} else text
    if problem := find_problem(key, value):
        if not find_problem(key, text):  # a model named `123`
            return key, text
        raise BadInput(f"Setting `{flag[:MAX_SHOWN_CHARS]}`: {problem}")
    return key, value


def _replace_value(config: Config, key: str, value: Any) -> Config:
    """Invariant: key and value are good."""
    values = msgspec.to_builtins(config)
    section, _, leaf = key.rpartition(".")
    (values[section] if section else values)[leaf] = value
    return msgspec.convert(values, Config)
