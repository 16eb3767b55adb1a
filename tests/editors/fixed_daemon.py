"""The daemon with tests.editors.fixed_worker for its engine: `python -m tests.editors.fixed_daemon
serve`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from llmd.cli import main
from llmd.daemon import daemon
from llmd.engine.client import EngineClient

COMMAND = (sys.executable, str(Path(__file__).with_name("fixed_worker.py")))

if __name__ == "__main__":
    daemon.EngineClient = partial(EngineClient, command=COMMAND)  # type: ignore[assignment,misc]
    sys.exit(main.main())
