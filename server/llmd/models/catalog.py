"""Models by name: the catalog that llmd carries, and the user's own entries beside the config.

Read when a name has to be looked up, since many import this: msgspec comes with the first look.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from llmd import paths
from llmd.errors import BadInput

if TYPE_CHECKING:
    from llmd.models.catalog_schema import CatalogRow, Entry, Variant

BUILT_IN = Path(__file__).with_name("catalog.toml")
USER_FILE = "catalog.toml"


def user_file() -> Path:
    return paths.config_path().with_name(USER_FILE)


def catalog() -> Mapping[str, Entry]:
    """By name, the user's own last. They replace what has their name.

    Raises:
        BadInput: the user's file is no catalog.
    """
    path = user_file()
    try:
        found = path.stat()
    except OSError:
        return _built_in()
    return _with_user_file(path, found.st_mtime_ns, found.st_size)


def find_variant(name: str) -> tuple[Entry, Variant] | None:
    """What `NAME` or `NAME:QUANTISATION` stands for.

    Raises:
        BadInput: the entry has no such quantisation, or the user's file is no catalog.
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
        data = tomllib.loads(path.read_bytes().decode())
    except (OSError, ValueError, RecursionError) as error:
        said = getattr(error, "strerror", None) or error
        raise BadInput(f"Catalog `{path}` cannot be read: {said}; correct it") from None
    rows: Mapping[str, CatalogRow] = parse_rows(data, str(path))
    return {name: build_entry(name, row, str(path)) for name, row in rows.items()}
