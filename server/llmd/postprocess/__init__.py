"""Decides where generated text ends, and trims it."""
