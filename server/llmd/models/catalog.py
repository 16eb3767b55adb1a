"""Looks up models by name in the catalog of this package and in the user's own catalog file.

Reads the files at the first look-up: many modules import this one, and msgspec imports slowly.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from llmd import paths
from llmd.errors import BadInput
from llmd.files import read_regular

if TYPE_CHECKING:
    from llmd.models.catalog_schema import Entry, Variant

BUILT_IN = Path(__file__).with_name("catalog.toml")
USER_FILE = "catalog.toml"


def catalog() -> Mapping[str, Entry]:
    """Returns the entries by name. An entry of the user's file replaces one of the same name.

    Raises:
        BadInput: the user's file is not a valid catalog.
    """
    path = paths.config_path().with_name(USER_FILE)
    try:
        stat = path.stat()
    except OSError:
        return _built_in()
    return _with_user_file(path, stat.st_mtime_ns, stat.st_size)


def find_variant(name: str) -> tuple[Entry, Variant] | None:
    """Returns the entry and the variant of `NAME` or `NAME:QUANTISATION`.

    Raises:
        BadInput: the entry lacks the quantisation, or the user's file is not a valid catalog.
    """
    bare, colon, quantisation = name.partition(":")
    entry = catalog().get(bare)
    if entry is None:
        return None
    if not colon:
        return entry, entry.variants[0]
    for variant in entry.variants:
        if variant.quantisation.lower() == quantisation.lower():
            return entry, variant
    known = ", ".join(variant.quantisation for variant in entry.variants)
    raise BadInput(f"Model `{bare}` has no quantisation `{quantisation}`, expected {known}")


@lru_cache(maxsize=1)
def _built_in() -> Mapping[str, Entry]:
    return _read(BUILT_IN)


@lru_cache(maxsize=1)
def _with_user_file(path: Path, _mtime_ns: int, _n_bytes: int) -> Mapping[str, Entry]:
    return {**_built_in(), **_read(path)}


def _read(path: Path) -> Mapping[str, Entry]:
    from llmd.models.catalog_schema import build_entry, parse_rows

    try:
        data = tomllib.loads(read_regular(path).decode())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"Catalog `{path}` cannot be read: {reason}; correct the file") from None
    rows = parse_rows(data, str(path))
    return {name: build_entry(name, row, str(path)) for name, row in rows.items()}
