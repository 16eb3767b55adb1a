"""Every scenario in every editor, on one daemon with the real model and one with fixed texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.editors.driver import Editor, wait
from tests.editors.neovim import BINARY, NeovimEditor, nvim12
from tests.editors.scenarios import SCENARIOS, Scenario
from tests.editors.scenarios.buffers import own_texts
from tests.editors.vim import VimEditor
from tests.editors.world import FixedDaemon, World
from tests.support.daemon import GREEDY, RunningDaemon

# A machine that is busy with other tests is slow; a few words are enough.
CONFIG = GREEDY + "[completion]\ndeadline_ms = 20000\nmax_tokens = 8\n"
EDITORS = ("nvim-0.11", "nvim-0.12", "vim")


def start(kind: str, environment: Mapping[str, str], path: Path) -> Editor:
    if kind == "vim":
        return VimEditor(environment, path)
    binary = BINARY if kind == "nvim-0.11" else nvim12()
    return NeovimEditor(environment, path, binary)


@pytest.fixture(scope="session")
def fixed_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with FixedDaemon(tmp_path_factory.mktemp("fixed")) as running:
        yield running


@pytest.fixture(scope="session")
def mortal_daemon(
    models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningDaemon]:
    """Its own, since scenarios kill it."""
    with RunningDaemon(models_dir, tmp_path_factory.mktemp("mortal"), CONFIG) as running:
        yield running


@pytest.fixture
def world(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Iterator[World]:
    scenario: Scenario = request.getfixturevalue("scenario")
    name = "mortal_daemon" if scenario.model == "real" else "fixed_daemon"
    daemon = request.getfixturevalue(name)
    found = World(daemon, tmp_path, lambda environment, path: start(kind, environment, path))
    if not found.daemon_is_up():  # the scenario before lost it
        daemon.llmd("start")
        wait(found.daemon_is_up, "a daemon")
    yield found
    found.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("kind", EDITORS)
def test_scenario(kind: str, scenario: Scenario, world: World) -> None:
    scenario.run(world)


def test_two_neovims_and_a_vim_on_one_daemon(fixed_daemon: RunningDaemon, tmp_path: Path) -> None:
    kinds = iter(("nvim-0.11", "nvim-0.11", "vim"))
    world = World(
        fixed_daemon, tmp_path, lambda environment, path: start(next(kinds), environment, path)
    )
    own_texts(world, 3)
    world.close()
