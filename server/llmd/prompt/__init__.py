"""Builds fill-in-the-middle prompts for each model family."""
