"""A client that checks types by the specification: pytest-lsp's, through the real bridge."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lsprotocol import types as t
from pytest_lsp import LanguageClient, client_capabilities, make_test_lsp_client
from tests.support.daemon import RunningDaemon

URI = "file:///t/conformance.py"
TEXT = "def area(radius):\n    return 3.14 * "


@pytest.fixture(params=["neovim", "visual_studio_code"])
async def client(
    daemon: RunningDaemon, request: pytest.FixtureRequest
) -> AsyncIterator[LanguageClient]:
    one = make_test_lsp_client()
    await one.start_io(str(Path(sys.executable).parent / "llmd"), "lsp", env=daemon.env)
    capabilities = client_capabilities(request.param)
    await one.initialize_session(t.InitializeParams(capabilities, root_uri=None, process_id=None))
    document = t.TextDocumentItem(URI, "python", 1, TEXT)
    one.text_document_did_open(t.DidOpenTextDocumentParams(document))
    yield one
    await one.shutdown_session()
    await one.stop()


async def test_an_inline_completion_has_the_specified_shape(client: LanguageClient) -> None:
    params = t.InlineCompletionParams(
        context=t.InlineCompletionContext(t.InlineCompletionTriggerKind.Invoked),
        text_document=t.TextDocumentIdentifier(URI),
        position=t.Position(1, 18),
    )
    found = await client.text_document_inline_completion_async(params)
    assert isinstance(found, t.InlineCompletionList)
    assert "radius" in str(found.items[0].insert_text)


async def test_a_popup_completion_has_the_specified_shape(client: LanguageClient) -> None:
    """These two declare no inline completion in the versions that pytest-lsp knows."""
    params = t.CompletionParams(t.TextDocumentIdentifier(URI), t.Position(1, 18))
    found = await client.text_document_completion_async(params)
    assert isinstance(found, t.CompletionList)
    [item] = found.items
    assert isinstance(item.text_edit, t.TextEdit)
    assert item.filter_text == item.text_edit.new_text.split("\n")[0]
