"""Makes wheels of what is installed here, so that an empty environment needs no network and no
second build of llama.cpp."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def write_wheels(requirements: list[str], folder: Path) -> None:
    """Writes the wheels of all that `requirements` need, extras and markers considered."""
    for package in _closure(requirements):
        _write_wheel(package, folder)


def _closure(requirements: list[str]) -> Iterator[Distribution]:
    seen: set[tuple[str, str]] = set()
    names: set[str] = set()
    left = [Requirement(text) for text in requirements]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            inner = map(Requirement, distribution(name).requires or ())
            left += [r for r in inner if not r.marker or r.marker.evaluate({"extra": extra})]
        if name not in names:
            names.add(name)
            yield distribution(name)


def _write_wheel(package: Distribution, folder: Path) -> None:
    tags = [
        line.removeprefix("Tag: ").split("-")
        for line in (package.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag: ")
    ]
    tag = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    name = canonicalize_name(package.metadata["Name"]).replace("-", "_")
    with zipfile.ZipFile(folder / f"{name}-{package.version}-{tag}.whl", "w") as wheel:
        for file in package.files or ():
            is_of_the_wheel = ".." not in file.parts and file.suffix != ".pyc"
            if is_of_the_wheel and file.name not in ("INSTALLER", "REQUESTED", "direct_url.json"):
                wheel.write(str(file.locate()), str(file))
