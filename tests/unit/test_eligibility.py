from __future__ import annotations

from pathlib import Path

import pytest

from llmd.config import Config
from llmd.context import eligibility
from llmd.document import Position, open_document


@pytest.mark.parametrize(
    ("uri", "language", "reason"),
    [
        ("file:///a/main.py", "python", ""),
        ("file:///a/not-saved-yet.py", "python", ""),
        ("untitled:Untitled-1", "python", ""),
        ("file:///a/.env", "text", "secret"),
        ("file:///a/.env.local", "text", "secret"),
        ("file:///a/%2Eenv", "text", "secret"),
        ("file:///a/SERVER.PEM", "text", "secret"),
        ("file:///a/id_ed25519", "text", "secret"),
        ("file:///a/.netrc", "text", "secret"),
        ("file:///a/keys.kdbx", "text", "secret"),
        ("file:///home/u/.ssh/config", "text", "secret"),
        ("file:///a/ssh/config", "text", ""),
        ("file:///home/u/.SSH/conf.d/work", "text", "secret"),
        ("file:///home/u/.aws/sso/cache/a.json", "text", "secret"),
        ("file:///a/.envs/main.py", "python", ""),
        ("FILE:///a/%2eENV%2Elocal", "text", "secret"),
        ("file:///a/.env?x=1", "text", "secret"),
        ("file:///a/b/../.env#1", "text", "secret"),
        ("/a/.env", "text", "secret"),
        ("untitled:.env", "text", "secret"),
        ("https://host/main.py", "python", "scheme"),
        ("file:///a/data.TSV", "", "filetype"),
        ("git:/a/main.py", "python", "scheme"),
        ("output:llmd", "log", "scheme"),
        ("file:///a/COMMIT_EDITMSG", "gitcommit", "filetype"),
        ("file:///a/out.log", "", "filetype"),
        ("file:///a/data.csv", "plaintext", "filetype"),
    ],
)
def test_a_document_is_refused_with_its_reason(uri: str, language: str, reason: str) -> None:
    document = open_document(uri, language, 1, "x = 1\n")
    assert eligibility.check_document(document, Config()) == reason


def test_a_link_to_a_secret_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / ".env").touch()
    (tmp_path / "notes.txt").symlink_to(tmp_path / ".env")
    document = open_document((tmp_path / "notes.txt").as_uri(), "text", 1, "")
    assert eligibility.check_document(document, Config()) == "secret"


def test_a_large_document_is_refused() -> None:
    document = open_document("file:///a.py", "python", 1, "x" * ((4 << 20) + 1))
    assert eligibility.check_document(document, Config()) == "size"


@pytest.mark.parametrize(
    ("line", "col", "limit", "reason"),
    [
        ("x = ", 4, 8, ""),
        ("f(a, b)", 2, 8, ""),
        ("f(aaaaaaaaaaaaaa)", 2, 8, "line_suffix"),
        ("f(aaaaaaaaaaaaaa)", 2, None, ""),
        ("\0ELF", 1, 8, "binary"),
        ("y" * 2001, 2001, 8, "long_line"),
    ],
)
def test_a_place_is_refused_with_its_reason(
    line: str, col: int, limit: int | None, reason: str
) -> None:
    assert eligibility.check_position([line], 0, 1, Position(0, col), limit) == reason
