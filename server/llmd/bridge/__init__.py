"""Connects an editor's stdio, and the command line, to the daemon. Standard library only."""
