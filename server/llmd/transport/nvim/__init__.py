"""msgpack-RPC for one Neovim. The only part that imports msgpack."""

from llmd.transport.nvim.connection import serve_connection
from llmd.transport.nvim.msgpack_rpc import FIRST_BYTES

__all__ = ["FIRST_BYTES", "serve_connection"]
