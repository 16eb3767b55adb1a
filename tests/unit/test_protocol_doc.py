"""docs/PROTOCOL.md's tables are those of the structs, and their keys are what clients rely on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import protocol_doc

PAGE = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()


def test_the_tables_are_of_the_structs() -> None:
    assert protocol_doc.text(PAGE) == PAGE, "run python -m tools.protocol_doc"


@pytest.mark.parametrize("name", protocol_doc.TABLES)
def test_every_struct_has_its_table(name: str) -> None:
    assert PAGE.count(f"<!-- table: {name} -->") == 1
