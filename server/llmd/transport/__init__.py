"""Serves editors over LSP and Neovim's msgpack-RPC."""
