"""Sets up pygls for one connection: lifecycle, capabilities, typed messages, the server's requests.

Only pygls's public interface is used. `dispatch` handles beside pygls the messages that pygls would
handle with a second copy of each document, or could not answer from a callback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from lsprotocol import types as t
from pygls.exceptions import JsonRpcException, JsonRpcInternalError, JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, default_converter

from llmd import __version__

_log = logging.getLogger("llmd.lsp")

# pygls logs messages, which hold the user's code. `report_server_error` logs pygls's errors.
logging.getLogger("pygls").setLevel(logging.CRITICAL)

# Shared by all connections: a converter takes 27 ms to build, and compiles its hooks on first use.
CONVERTER: Any = default_converter()  # type: ignore[no-untyped-call]


class Server(LanguageServer):
    def report_server_error(self, error: Exception, source: object) -> None:
        """Logs the error's type. The message may hold the user's code, and pygls's own version
        of this hook shows the message to the user."""
        _log.warning("%s: %s", getattr(source, "__name__", "error"), type(error).__name__)


def create_server(writer: Any) -> Server:
    """Returns a server that writes each message's body to `writer`."""
    server = Server("llmd", __version__, converter_factory=lambda: CONVERTER)
    server.protocol.set_writer(writer, include_headers=False)
    return server


def release_server() -> None:
    """Drops the references to ended connections that pygls's caches of message types hold: pygls
    2.1 puts `lru_cache` on these methods, with the connection among the keys."""
    for name in ("get_message_type", "get_result_type"):
        method = getattr(LanguageServerProtocol, name)
        if hasattr(method, "cache_clear"):
            method.cache_clear()


def structure(server: Server, message: dict[str, Any]) -> Any:
    """Returns a message of LSP with typed params.

    Raises:
        JsonRpcInvalidParams: the params are not of the expected form.
    """
    method, params = message.get("method"), message.get("params")
    try:
        if method == t.INITIALIZE:
            return t.InitializeRequest(message["id"], structure_initialize(params))
        if method == t.TEXT_DOCUMENT_DID_CHANGE and not _is_change(params):
            raise JsonRpcInvalidParams()
        return server.protocol.structure_message(message)
    except JsonRpcInvalidParams:
        raise
    except Exception as error:  # cattrs documents no base class of its errors
        raise JsonRpcInvalidParams("Params are not of the expected form") from error


def _is_change(params: Any) -> bool:
    """Returns whether the params of a didChange conform to LSP. lsprotocol's converter is more
    lenient: it converts null to a text."""
    if not isinstance(params, dict):
        return False
    document, changes = params.get("textDocument"), params.get("contentChanges")
    return (
        isinstance(document, dict)
        and isinstance(document.get("uri"), str)
        and _is_count(document.get("version"), least=-(1 << 31))
        and isinstance(changes, list)
        and all(map(_is_content_change, changes))
    )


def _is_content_change(change: Any) -> bool:
    if not (isinstance(change, dict) and isinstance(change.get("text"), str)):
        return False
    range_ = change.get("range")
    if isinstance(range_, dict):
        return _is_position(range_.get("start")) and _is_position(range_.get("end"))
    return range_ is None


def _is_position(position: Any) -> bool:
    return isinstance(position, dict) and all(
        _is_count(position.get(key)) for key in ("line", "character")
    )


def _is_count(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 31


_ENCODINGS = [kind.value for kind in t.PositionEncodingKind]


def structure_initialize(params: Any) -> t.InitializeParams:
    """Returns what llmd uses of the params of `initialize`. Clients send enum values and forms that
    no version of LSP has; what is not used is not looked at, and what is used is taken where it has
    the expected form.

    Raises:
        JsonRpcInvalidParams: the params are not an object.
    """
    if not isinstance(params, dict):
        kind = type(params).__name__
        raise JsonRpcInvalidParams(f"`params` of `initialize` is a {kind}, expected an object")
    wanted = _member(params, "capabilities")
    window, text = _member(wanted, "window"), _member(wanted, "textDocument")
    offered = _member(wanted, "general").get("positionEncodings")
    offered = offered if isinstance(offered, list) else []
    encodings = [t.PositionEncodingKind(each) for each in offered if each in _ENCODINGS]
    has_inline = text.get("inlineCompletion") is not None
    inline = t.InlineCompletionClientCapabilities() if has_inline else None
    info = _member(params, "clientInfo")
    name, version = info.get("name"), info.get("version")
    return t.InitializeParams(
        capabilities=t.ClientCapabilities(
            general=t.GeneralClientCapabilities(position_encodings=encodings or None),
            window=t.WindowClientCapabilities(
                work_done_progress=window.get("workDoneProgress") is True
            ),
            text_document=t.TextDocumentClientCapabilities(inline_completion=inline),
        ),
        client_info=t.ClientInfo(name, version if isinstance(version, str) else None)
        if isinstance(name, str)
        else None,
        initialization_options=params.get("initializationOptions"),
    )


def _member(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """Returns an object's member that is an object; an empty one where it is anything else."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def guarded(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a handler so that a reply never carries an unexpected error's message, which may hold
    the user's code."""

    def call(*args: Any) -> Any:
        try:
            return handler(*args)
        except JsonRpcException:
            raise
        except Exception as error:
            _log.warning("request failed: %s", type(error).__name__)
            raise JsonRpcInternalError("Internal error; `llmd logs` has more") from None

    return call
