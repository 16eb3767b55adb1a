"""Tests the allowed imports between packages, by a table and a walk over the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "server" / "llmd"
# The packages from the lowest to the highest. Each imports only from the packages in its row and
# from the modules at the top.
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
    "transport": {"completion", "config", "context", "document", "engine"},
    "bridge": {"transport"},
    "daemon": {
        "completion", "config", "context", "document", "engine", "models", "transport",
    },
}  # fmt: skip
MAY_IMPORT["cli"] = set(MAY_IMPORT)
LOOSE = {"__init__", "__main__", "processes", "errors", "files", "machine", "paths", "signals"}

# Each third-party package is imported by one module, except these two.
SHARED = {"msgspec", "numpy"}
ONLY_IN = {
    "filelock": "files.py",
    "pygls": "transport/lsp/",
    "lsprotocol": "transport/lsp/",
    "llama_cpp": "worker/llama/",
    "gguf": "models/pull/build_builtin.py",
    "platformdirs": "paths.py",
    "psutil": "machine/system.py",
    "httpx2": "engine/http_client.py",
    "leather": "cli/report_files.py",
    "rich": "cli/progress.py",
    "huggingface_hub": "models/pull/hub_client.py",
    "msgpack": "transport/nvim/",
    "pathspec": "context/workspace_rules.py",
    "pynvim": "cli/doctor/running_neovim.py",
    "tomlkit": "config/load.py",
    "watchfiles": "config/watch.py",
}


def _module(file: Path) -> str:
    """Returns the name of a module or package as imports write it."""
    return ".".join(("llmd", *file.with_suffix("").parts)).removesuffix(".__init__")


FILES = {str(path.relative_to(ROOT)): path for path in ROOT.rglob("*.py")}
MODULES = {file: _module(Path(file)) for file in FILES}


def _imports(path: Path) -> set[str]:
    """Returns the full names of all modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = inner & set(MODULES.values())
            names |= submodules if submodules == inner else {*submodules, node.module}
    return names


IMPORTS = {file: _imports(path) for file, path in FILES.items()}


@pytest.mark.parametrize("file", sorted(IMPORTS))
def test_a_module_imports_only_what_its_row_lists(file: str) -> None:
    part = Path(file).parts[0].removesuffix(".py")
    used = {name.split(".")[1] for name in IMPORTS[file] if name.startswith("llmd.")} - {part}
    if part == "__main__":
        assert used == {"cli"}
    elif part in LOOSE:
        assert used <= LOOSE
    else:
        assert used - LOOSE <= MAY_IMPORT[part]


def test_the_top_of_the_package_is_folders() -> None:
    loose = {path.stem for path in ROOT.glob("*.py")}
    assert len(loose) <= 8
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert folders == (set(MAY_IMPORT) | LOOSE) - loose


@pytest.mark.parametrize("file", sorted(IMPORTS))
def test_a_third_party_package_is_known_to_one_module(file: str) -> None:
    tops = {name.split(".")[0] for name in IMPORTS[file]} - {"llmd", "__future__"} - SHARED
    third_party = tops - set(sys.stdlib_module_names)
    assert {name for name in third_party if not file.startswith(ONLY_IN.get(name, "?"))} == set()


def test_the_modules_depend_in_one_direction() -> None:
    ours = set(MODULES.values()) - {"llmd"}
    TopologicalSorter({MODULES[file]: IMPORTS[file] & ours for file in FILES}).prepare()


def test_what_daemon_and_worker_share_is_what_crosses_between_them() -> None:
    """Daemon and worker share the messages on their socket, and cancel flags in shared memory."""
    shared = {"llmd.engine.messages", "llmd.engine.cancel_flags"}
    for file, names in IMPORTS.items():
        part = Path(file).parts[0]
        if part == "worker":
            assert {name for name in names if name.startswith("llmd.engine")} <= shared
        elif part != "cli":  # `doctor` and `bench model` run llama.cpp in their own processes
            assert not {name for name in names if name.startswith("llmd.worker")}


def test_row_43_a_clock_that_jumps_is_only_ever_shown() -> None:
    """Code that waits or measures must read the monotonic clock."""
    walls = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if "time.time()" in path.read_text() or "datetime.now" in path.read_text()
    }
    assert walls == {"completion/trace.py"}


def test_the_engine_worker_alone_runs_llama_cpp() -> None:
    code = "import llmd.daemon.daemon, sys; assert 'llama_cpp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_reads_a_status_with_msgspec_alone() -> None:
    """`llmd status` must start at once: neither config, prompt nor postprocess is loaded."""
    code = (
        "import sys, llmd.cli.daemon_commands"
        "; ours = {m.split('.')[1] for m in sys.modules if m.startswith('llmd.')}"
        "; print(*sorted(ours - {'bridge', 'cli', 'completion', 'engine', 'transport'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= LOOSE


def test_the_bridge_starts_with_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules)"
        "; import llmd.bridge.bridge, llmd.bridge.daemon_client"
        "; new = {m.split('.')[0] for m in set(sys.modules) - before} - {'llmd'}"
        "; print(new - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
