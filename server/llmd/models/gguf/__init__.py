"""Reads and validates GGUF headers before llama.cpp opens the file."""
