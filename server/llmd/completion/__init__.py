"""Turns a completion request into a suggestion: cache, engine request, post-processing, trace."""
