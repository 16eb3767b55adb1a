"""Tests `initialize` of the clients there are: odd values are ignored, what is used is taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types as t
from pygls.exceptions import JsonRpcInvalidParams

from llmd.transport.lsp.server import CONVERTER, structure_initialize

PLAIN: dict[str, Any] = {"processId": 7, "rootUri": None, "capabilities": {}}
USED: dict[str, Any] = {
    "clientInfo": {"name": "edit", "version": "1"},
    "initializationOptions": {"llmd": {"partial": True}},
    "capabilities": {
        "general": {"positionEncodings": ["utf-8", "utf-16"]},
        "window": {"workDoneProgress": True},
        "textDocument": {"inlineCompletion": {}},
    },
}


def capabilities(path: str, value: Any) -> dict[str, Any]:
    """Puts a value at a path of USED's capabilities."""
    made: dict[str, Any] = CONVERTER.unstructure(USED)
    *parents, last = path.split(".")
    at = made
    for key in parents:
        at = at.setdefault(key, {})
    at[last] = value
    return made


def used(params: t.InitializeParams) -> tuple[Any, ...]:
    found = params.capabilities
    assert found.general
    assert found.window
    assert found.text_document
    return (
        found.general.position_encodings, found.window.work_done_progress,
        found.text_document.inline_completion is not None, params.client_info,
        params.initialization_options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("capabilities.workspace.symbol.tagSupport", {"valueSet": [1, 2, 3]}),
        ("capabilities.workspace.symbol.symbolKind", {"valueSet": [27, 99, "x"]}),
        ("capabilities.textDocument.completion.completionItem.tagSupport", {"valueSet": [7]}),
        ("capabilities.textDocument.completion.completionItemKind", {"valueSet": [26, 0]}),
        ("capabilities.textDocument.codeAction.codeActionLiteralSupport", {}),
        ("capabilities.textDocument.semanticTokens", {"dynamicRegistration": True}),
        ("capabilities.textDocument.semanticTokens", []),
        ("capabilities.textDocument.publishDiagnostics.tagSupport", True),
        ("capabilities.workspace", []),
        ("capabilities.notebookDocument", 3),
        ("capabilities.experimental", [[1]]),
        ("trace", "on"),
        ("workspaceFolders", [{"uri": "file:///a"}]),
        ("workspaceFolders", [{"uri": "file://[zz]/x", "name": 3}]),
        ("workspaceFolders", {}),
        ("rootUri", "file://[zz]"),
        ("rootPath", 3),
        ("processId", "7"),
        ("locale", 5),
        ("workDoneToken", {}),
        ("unknown", {"a": 1}),
    ],
)
def test_what_llmd_does_not_use_is_not_looked_at(path: str, value: Any) -> None:
    assert used(structure_initialize(capabilities(path, value))) == used(structure_initialize(USED))


@pytest.mark.parametrize(
    ("path", "value", "index", "expected"),
    [
        ("capabilities.general.positionEncodings", ["utf-8", "utf-7", 3], 0, ["utf-8"]),
        ("capabilities.general.positionEncodings", ["utf-32", "utf-8"], 0, ["utf-32", "utf-8"]),
        ("capabilities.general.positionEncodings", "utf-8", 0, None),
        ("capabilities.general.positionEncodings", [], 0, None),
        ("capabilities.general", [], 0, None),
        ("capabilities.window", [], 1, False),
        ("capabilities.window.workDoneProgress", "yes", 1, False),
        ("capabilities.textDocument", [], 2, False),
        ("capabilities.textDocument.inlineCompletion", None, 2, False),
        ("capabilities.textDocument.inlineCompletion", [], 2, True),
        ("clientInfo", [], 3, None),
        ("clientInfo", {"name": "a", "version": 3}, 3, t.ClientInfo("a", None)),
        ("clientInfo", {"version": "3"}, 3, None),
        ("initializationOptions", [1], 4, [1]),
    ],
)
def test_what_llmd_uses_is_taken_where_it_has_the_expected_form(
    path: str, value: Any, index: int, expected: Any
) -> None:
    found = list(used(structure_initialize(capabilities(path, value))))
    wanted = list(used(structure_initialize(USED)))
    wanted[index] = (
        [t.PositionEncodingKind(each) for each in expected or []] or None
        if index == 0
        else expected
    )
    assert found == wanted


@pytest.mark.parametrize("params", [None, [], 3, "x", True])
def test_params_that_are_no_object_are_named(params: Any) -> None:
    with pytest.raises(JsonRpcInvalidParams, match="`params` of `initialize` is a"):
        structure_initialize(params)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["capabilities", "general", "window", "textDocument", "clientInfo", "name",
                         "positionEncodings", "inlineCompletion", "workDoneProgress"]),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*PLAIN, *USED]), ANYTHING))
def test_no_form_of_the_params_fails(params: dict[str, Any]) -> None:
    assert used(structure_initialize(params))
