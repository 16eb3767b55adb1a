"""Who may import whom: a table, and a walk over the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "server" / "llmd"
# The folders from the lowest to the highest: each imports only from those in its row, and from the
# modules that lie beside them at the top.
MAY_IMPORT = {
    "document": set(),
    "config": set(),
    "context": {"config", "document"},
    "prompt": {"context"},
    "postprocess": {"context"},
    "models": {"config"},
    "engine": {"config", "models", "postprocess", "prompt"},
    "worker": {"config", "engine", "models", "postprocess", "prompt"},
    "completion": {"config", "context", "document", "engine", "postprocess", "prompt"},
    "transport": {"completion", "document"},
    "bridge": {"transport"},
    "daemon": {
        "completion", "config", "context", "document", "engine", "models", "transport",
    },
}  # fmt: skip
MAY_IMPORT["cli"] = set(MAY_IMPORT)
LOOSE = {"__init__", "__main__", "errors", "machine", "paths", "signals"}

# Third-party packages are each known to one module; these two are part of the language here.
SHARED = {"msgspec", "numpy"}
ONLY_IN = {
    "pygls": "transport/lsp/",
    "lsprotocol": "transport/lsp/",
    "llama_cpp": "worker/llama/",
    "gguf": "models/pull/builtin.py",
    "platformdirs": "paths.py",
    "psutil": "machine.py",
    "leather": "cli/chart.py",
    "rich": "cli/progress.py",
    "huggingface_hub": "models/pull/hub.py",
    "msgpack": "transport/nvim/",
    "pathspec": "context/workspace_rules.py",
    "pynvim": "cli/doctor/neovim.py",
    "tomlkit": "config/load.py",
    "watchfiles": "config/watch.py",
}


def _imports() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found[str(path.relative_to(ROOT))] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module != "llmd":
                    names.add(node.module)
                found[str(path.relative_to(ROOT))] |= names
    return found


IMPORTS = _imports()


@pytest.mark.parametrize("file", sorted(IMPORTS))
def test_a_module_imports_only_what_its_row_lists(file: str) -> None:
    part = Path(file).parts[0].removesuffix(".py")
    used = {name.split(".")[1] for name in IMPORTS[file] if name.startswith("llmd.")}
    used -= {"__version__", part}
    if part == "__main__":
        assert used == {"cli"}
    elif part in LOOSE:
        assert used <= LOOSE
    else:
        assert used - LOOSE <= MAY_IMPORT[part]


def test_the_top_of_the_package_is_folders() -> None:
    loose = {path.stem for path in ROOT.glob("*.py")}
    assert len(loose) <= 8
    assert {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} == set(
        MAY_IMPORT
    ) - loose


@pytest.mark.parametrize("file", sorted(IMPORTS))
def test_a_third_party_package_is_known_to_one_module(file: str) -> None:
    tops = {name.split(".")[0] for name in IMPORTS[file]} - {"llmd", "__future__"} - SHARED
    third_party = tops - set(sys.stdlib_module_names)
    assert {name for name in third_party if not file.startswith(ONLY_IN.get(name, "?"))} == set()


@pytest.mark.parametrize("package", ["engine", "transport/lsp"])
def test_the_modules_of_a_package_depend_in_one_direction(package: str) -> None:
    files = {_module(file): file for file in IMPORTS if file.startswith(f"{package}/")}
    used = {name: IMPORTS[file] & files.keys() for name, file in files.items()}
    TopologicalSorter(used).prepare()  # raises CycleError


def _module(file: str) -> str:
    """A package's own `__init__` keeps that name: nobody imports it by it."""
    return f"llmd.{file.removesuffix('.py').replace('/', '.')}"


def test_row_43_a_clock_that_jumps_is_only_ever_shown() -> None:
    """What waits or measures reads the monotonic clock."""
    walls = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if "time.time()" in path.read_text() or "datetime.now" in path.read_text()
    }
    assert walls == {"completion/stages.py"}


def test_the_engine_worker_alone_runs_llama_cpp() -> None:
    code = "import llmd.daemon.daemon, sys; assert 'llama_cpp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_bridge_starts_with_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules)"
        "; import llmd.bridge.bridge, llmd.bridge.daemon_client"
        "; new = {m.split('.')[0] for m in set(sys.modules) - before} - {'llmd'}"
        "; print(new - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
