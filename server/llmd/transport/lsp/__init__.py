"""LSP for one connection. The only part that imports pygls and lsprotocol."""

from llmd.transport.lsp.connection import serve_connection

__all__ = ["serve_connection"]
