"""Builds a request: the text that the model sees, or the reason why a request is skipped."""
