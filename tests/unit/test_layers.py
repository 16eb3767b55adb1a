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
EVERYWHERE = {"errors", "trace", "config", "paths", "machine", "logs", "config_text", "llmd"}

MAY_IMPORT = {
    "document": set(),
    "context": {"document"},
    "prompt": {"context", "document"},
    "postprocess": {"context", "document"},
    "gates": {"document"},
    "sigterm": set(),
    "models": {"sigterm"},
    "engine": {"prompt", "postprocess", "models"},
    "transport": {"document"},
    "requests": set(),
    "look": {"context", "document", "gates", "transport"},
    "recall": {"context"},
    "generation": {"engine", "look", "recall", "requests"},
    "stages": set(),
    "answers": {"engine", "look", "postprocess", "recall", "stages", "transport"},
    "asking": {"engine", "look", "postprocess", "prompt"},
    "ahead": {"answers", "asking", "context", "document", "engine", "look", "transport"},
    "completer": {
        "ahead", "answers", "asking", "document", "engine", "generation", "look", "requests",
        "transport",
    },
    "settings": set(),
    "watch": set(),
    "status": {"engine", "models", "transport"},
    "outcomes": {"transport"},
    "lock": set(),
    "daemon": {
        "completer", "context", "document", "engine", "lock", "outcomes", "settings", "status",
        "transport", "watch",
    },
    "plot": set(),
    "eval": {
        "completer", "context", "document", "engine", "models", "plot", "postprocess", "prompt",
        "settings", "terminal",
    },
    "bench": {
        "engine", "eval", "models", "own_daemon", "plot", "settings", "terminal", "transport",
    },
    "report": set(),
    "place": {"document"},
    "purge": {"models"},
    "terminal": {"models"},
    "own_daemon": {"sigterm", "transport"},
    "demo": {"own_daemon", "report", "terminal", "transport"},
    "doctor": {"engine", "models", "prompt", "settings", "transport"},
    "commands": {
        "bench", "commands_models", "daemon", "demo", "doctor", "eval", "models", "place", "purge",
        "report", "settings", "terminal", "transport",
    },
    "commands_models": {
        "engine", "llama_flags", "models", "models_text", "settings", "terminal", "transport",
    },
    "llama_flags": {"models"},
    "models_text": {"models"},
    "cli": {"bench", "commands", "eval"},
    "__main__": {"cli"},
}  # fmt: skip

# Third-party packages are each known to one module; these two are part of the language here.
SHARED = {"msgspec", "numpy"}
ONLY_IN = {
    "pygls": "transport/lsp/",
    "lsprotocol": "transport/lsp/",
    "llama_cpp": "engine/llama/",
    "gguf": "models/builtin.py",
    "platformdirs": "paths.py",
    "psutil": "machine.py",
    "leather": "plot.py",
    "rich": "terminal.py",
    "huggingface_hub": "models/hub.py",
    "msgpack": "transport/nvim/",
    "pathspec": "context/workspace.py",
    "pynvim": "doctor/neovim.py",
    "tomlkit": "settings.py",
    "watchfiles": "watch.py",
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
    if part in EVERYWHERE | {"__init__"}:
        allowed: set[str] = set()
    else:
        allowed = MAY_IMPORT[part]
    used = {name.split(".")[1] for name in IMPORTS[file] if name.startswith("llmd.")}
    assert used - allowed - EVERYWHERE - {part, "__version__"} == set()


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
    assert walls == {"stages.py"}


def test_the_engine_worker_alone_runs_llama_cpp() -> None:
    code = "import llmd.daemon, sys; assert 'llama_cpp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_bridge_starts_with_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules)"
        "; import llmd.transport.bridge, llmd.transport.control"
        "; new = {m.split('.')[0] for m in set(sys.modules) - before} - {'llmd'}"
        "; print(new - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
