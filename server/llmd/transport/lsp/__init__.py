"""Speaks LSP on one connection. No other package imports pygls or lsprotocol."""

from llmd.transport.lsp.session import serve_connection

__all__ = ["serve_connection"]
