"""What llama.cpp says: silent but for errors, which go to stderr; the last ones are kept.

Every module of the package imports it, so that llama.cpp is set up before it is first called.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque

from llama_cpp import llama_cpp as c

_LEVEL_ERROR = 4  # ggml.h, enum ggml_log_level
_errors: deque[str] = deque(maxlen=8)
_cancel_flag = ctypes.c_char()  # rebound by expect_abort


@c.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: int) -> None:
    if level == _LEVEL_ERROR:
        line = text.decode(errors="replace").strip()
        if _cancel_flag.value != b"\0":  # llama.cpp calls a decode that we aborted an error
            return
        _errors.append(line)
        print(line, file=sys.stderr, flush=True)


c.llama_log_set(_log, ctypes.c_void_p(0))
c.llama_backend_init()


def expect_abort(flag_address: int) -> None:
    """While the byte at the address is not zero, an error is the abort that was asked for."""
    global _cancel_flag
    _cancel_flag = ctypes.c_char.from_address(flag_address)


def clear_errors() -> None:
    """Before a call whose own error is to be told."""
    _errors.clear()


def last_error() -> str:
    """The last line that llama.cpp logged as an error since, or that it gave no reason."""
    return _errors[-1] if _errors else "no reason given"
