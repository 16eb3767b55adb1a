"""Checks that transport/lsp uses pygls as pygls's users do: by its public interface, with no method
overridden but the documented hooks. An update of pygls then cannot break the daemon silently."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from pygls.lsp.server import LanguageServer
from pygls.protocol import JsonRPCProtocol

from llmd.transport import lsp

# pygls documents of this method that it may be overridden.
HOOKS = {"report_server_error"}
# The feature manager behind the decorators `feature` and `command`.
INTERNAL = {"fm", "add_builtin_feature", "builtin_features", "lsp_method"}

FOLDER = Path(lsp.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
SUBCLASSES = {
    cls
    for file in FILES
    for cls in vars(importlib.import_module(f"llmd.transport.lsp.{file.stem}")).values()
    if inspect.isclass(cls)
    and issubclass(cls, LanguageServer | JsonRPCProtocol)
    and not cls.__module__.startswith("pygls")
}


def private_uses(source: str) -> Iterator[str]:
    """Yields the names that are private to another object, or internal to pygls. Our own classes
    may have private attributes; subclasses of pygls's classes may not."""
    tree = ast.parse(source)
    subclasses = {cls.__name__ for cls in SUBCLASSES}
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) if name in subclasses:
                inner = (found for found in ast.walk(node) if isinstance(found, ast.Attribute))
                yield from (found.attr for found in inner if _is_private(found.attr))
            case ast.Attribute(value=ast.Name(id="self"), attr=attr) if attr not in INTERNAL:
                pass
            case ast.Attribute(attr=attr) if _is_private(attr) or attr in INTERNAL:
                yield attr
            case ast.ImportFrom(module=str(module)) if module.startswith("pygls"):
                names = [*module.split("."), *(alias.name for alias in node.names)]
                yield from (name for name in names if _is_private(name) or name in INTERNAL)
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "vars")):
                texts = (arg.value for arg in node.args if isinstance(arg, ast.Constant))
                yield from (text for text in texts if isinstance(text, str) and _is_private(text))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_private_member_is_used(file: Path) -> None:
    assert list(private_uses(file.read_text())) == []


def test_only_documented_hooks_are_overridden() -> None:
    assert SUBCLASSES
    for cls in SUBCLASSES:
        upstream = {name for base in cls.__mro__[1:] for name in vars(base)}
        overridden = {name for name in vars(cls) if name in upstream and not name.startswith("__")}
        assert overridden <= HOOKS


@pytest.mark.parametrize(
    "source",
    [
        "server.protocol._send_data(b'')",
        "server.protocol.fm.add_builtin_feature('a', f)",
        "self.protocol._shutdown = True",
        "getattr(protocol, '_request_futures')",
        "from pygls.lsp._capabilities import get_capability",
        "from pygls.protocol import lsp_method",
        "class Server:\n    def f(self):\n        self._stop_event.set()",
    ],
)
def test_the_check_finds_a_private_use(source: str) -> None:
    assert list(private_uses(source))
