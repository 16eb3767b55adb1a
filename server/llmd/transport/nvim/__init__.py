"""Speaks msgpack-RPC with one Neovim. No other package imports msgpack."""

from llmd.transport.nvim.msgpack_rpc import FIRST_BYTES
from llmd.transport.nvim.session import serve_connection

__all__ = ["FIRST_BYTES", "serve_connection"]
