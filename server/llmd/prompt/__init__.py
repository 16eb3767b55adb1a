"""Builds fill-in-the-middle (FIM) prompts in the format of each model family."""
