"""Runs the engine's child process. The only package that loads llama.cpp."""
