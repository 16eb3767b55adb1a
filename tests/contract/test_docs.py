"""Every command in the docs is one that works: `sh` blocks are run, `make` targets exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests.support.daemon import RunningDaemon

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"^```(sh|console|toml|lua)\n(.*?)^```$", re.M | re.S)
# Other tests run these to their end.
RUN_ELSEWHERE = ("serve", "lsp", "demo", "stop", "restart", "purge", "use", "bench", "doctor")
SAMPLE = "def area(radius):\n    return 3.14 * \n"


def _blocks(language: str) -> list[tuple[str, str]]:
    return [
        (path.name, text)
        for path in DOCS
        for found, text in BLOCK.findall(path.read_text())
        if found == language
    ]


def _commands(language: str) -> list[str]:
    lines = {
        line.split("#")[0].strip() for _, text in _blocks(language) for line in text.split("\n")
    }
    return sorted(line.removeprefix("$ ") for line in lines if line)


@pytest.mark.parametrize("command", _commands("sh"))
def test_a_command_of_the_docs_runs(daemon: RunningDaemon, tmp_path: Path, command: str) -> None:
    (tmp_path / "main.py").write_text(SAMPLE)
    program, *args = shlex.split(command)
    if program == "make":
        done = subprocess.run(["make", "-n", *args], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0
        return
    assert program == "llmd"
    if args[0] in RUN_ELSEWHERE:
        done_text = daemon.llmd(args[0], "--help")
    else:
        sample = str(tmp_path / "main.py")
        if args[0] == "why":  # somebody must have asked before
            daemon.llmd("complete", f"{sample}:2:19")
        if args[0] == "eval":  # whole sets take minutes
            args += ["--limit", "1", "--out", str(tmp_path / "found")]
        done_text = daemon.llmd(*(arg.replace("main.py", sample) for arg in args))
    assert done_text.returncode == 0, done_text.stderr


@pytest.mark.parametrize(("name", "text"), _blocks("toml"))
def test_the_config_of_the_docs_is_accepted(name: str, text: str) -> None:
    from llmd.config.parse import parse

    if not _is_catalog(text):
        assert parse(text, name)


def test_the_catalog_of_the_docs_is_accepted() -> None:
    from llmd.models.catalog_schema import build_entry, parse_rows

    ((name, text),) = (block for block in _blocks("toml") if _is_catalog(block[1]))
    ((model, row),) = parse_rows(tomllib.loads(text), name).items()
    entry = build_entry(model, row, name)
    assert [variant.quantisation for variant in entry.variants] == ["Q4_K_M", "Q8_0", "Q6_K"]
    assert [adapter.scale for adapter in entry.adapters] == [0.8]


def _is_catalog(text: str) -> bool:
    return ".files]]" in text


def test_the_architecture_has_a_paragraph_for_each_folder() -> None:
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    folders = {path.parent.name for path in (ROOT / "server" / "llmd").glob("*/__init__.py")}
    assert set(re.findall(r"^- \*\*`(\w+)/`\*\* ", page, re.M)) == folders


def test_every_file_that_the_docs_name_exists() -> None:
    roots = [ROOT, ROOT / "server" / "llmd", ROOT / "docs", *ROOT.glob("plugins/*/*/llmd")]
    for page in DOCS:
        for name in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|toml|lua|vim|md))`", page.read_text()):
            assert any((root / name).exists() for root in roots), f"{page.name}: `{name}`"


def test_the_demo_shows_two_completions_and_ends(daemon: RunningDaemon) -> None:
    import json

    done = daemon.llmd("demo", timeout_s=110)
    traces = [json.loads(t) for t in re.findall(r"^trace: (\{.*\})\s*$", done.stdout, re.M)]
    assert done.returncode == 0, done.stderr
    assert len(traces) == 2
    assert traces[1]["n_cached"] >= 50
    assert traces[1]["n_prefill"] + traces[1]["n_healed"] <= 8
