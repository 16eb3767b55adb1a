"""Runs the daemon's side of the engine: requests, the worker's life cycle, model switches."""
