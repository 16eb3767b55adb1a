"""Runs the daemon process: composition, life cycle, status, log and lock."""
