"""Completes code at the cursor in every editor, from one model that stays loaded."""

__version__ = "0.1.0"
