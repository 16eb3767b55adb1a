from __future__ import annotations

import re
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


SECRETS = re.findall(
    r"\S+",
    """
/a/.git/config /h/.config/gh/hosts.yml /h/.bash_history /h/.psql_history /a/secret.yaml
/a/secrets/db.txt /a/secrets/deep/x.py /a/prod.tfstate.backup /a/prod.tfvars.json /a/x.pem.bak
/a/x.pem.old.txt /a/key.ppk /a/key.p8 /a/cert.der /a/kubeconfig /a/kubeconfig-prod.yaml
/h/.vault-token /a/application_default_credentials.json /a/client_secret_123.json
/a/service-account-prod.json /h/.my.cnf /h/.s3cfg /h/rclone.conf /h/.m2/settings.xml
/a/gradle.properties /a/.yarnrc.yml /h/.config/containers/auth.json /h/.config/sops/age/keys.txt
/dev/shm/pass.Xy12/site.txt /dev/shm/gopass-edit123/secret /tmp/kubectl-edit-123.yaml /etc/shadow
/etc/wireguard/wg0.conf /a/secrets.json /a/credentials.yaml /a/credentials.sh
/a/.env~ /a/.env.swp /a/..env.swp /a/.env.swo /a/.env.bak /a/.env.orig /a/#.env# /a/.#.env
/a/.env.~3~ /a/id_rsa.old /a/#id_rsa# /a/.id_rsa.swp /a/id_rsa~ /a/server.pem.bak /a/.netrc.swp~
/h/.ssh/known.py /a/SECRETS/x.go
""",
)
ORDINARY = re.findall(
    r"\S+",
    """
/a/secrets.py /a/secret.go /a/id_utils.go /a/credentials.ts /a/credentials.RS /a/id_map.test.ts
/a/secretsauce.md /a/git/config /a/settings.xml /a/history.txt /a/my.cnf.md /a/wg.md /a/main.py~
/a/.main.py.swp /a/notes.bak /a/etc/shadow /a/dev/shm/pass.x /a/auth.json /a/hosts.yml /a/keys.txt
""",
)


@pytest.mark.parametrize("path", [*SECRETS, *ORDINARY])
def test_secrets_are_known_by_their_names(path: str) -> None:
    document = open_document(f"file://{path.replace('#', '%23')}", "text", 1, "x = 1\n")
    assert eligibility.check_document(document, Config()) == ("secret" if path in SECRETS else "")


def test_a_pattern_that_names_a_source_s_ending_holds_for_it() -> None:
    assert eligibility.is_secret(["/a/keys_prod.py"], ["keys_*.py"])
    assert not eligibility.is_secret(["/a/keys_prod.py"], ["keys_*"])


@pytest.mark.parametrize(
    "uri", ["file:///" + "a" * 5000, "file://" + "/a" * 16_000, "file://[zz]/x.py", "file://[::1"]
)
def test_a_uri_that_no_file_has_is_refused_at_once(uri: str) -> None:
    document = open_document(uri, "python", 1, "x = 1\n")
    assert eligibility.check_document(document, Config()) == "scheme"


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
