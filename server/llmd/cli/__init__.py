"""Implements the `llmd` command line."""
