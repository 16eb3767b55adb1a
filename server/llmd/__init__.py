"""llmd: completes code at the cursor in every editor, from one warm model."""

__version__ = "0.1.0"
