"""Runs the engine in a child process. No other package loads llama.cpp."""
