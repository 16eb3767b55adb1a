"""What a person does, in any editor with our plugin: one list, run in all of them.

A scenario gets a world and opens its editors there. Those marked `real` ask the real model, and
read what it says from the screen; the others are told what the engine says.
"""

from tests.editors.scenarios import buffers, faults, seeing, taking
from tests.editors.scenarios.listed import SCENARIOS, Scenario

__all__ = ["SCENARIOS", "Scenario", "buffers", "faults", "seeing", "taking"]
