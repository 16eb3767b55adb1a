"""Initializes llama.cpp and filters its log: errors go to stderr, the last errors are stored.

Every module of this package imports this one, so that llama.cpp is initialized before any call.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections import deque

from llama_cpp import llama_cpp as c

from llmd.models.memory_plan import is_out_of_memory

_LEVEL_ERROR = 4  # ggml.h, enum ggml_log_level
# The codes of an abort in llama-context.cpp: of llama_decode, and of ggml.
_OF_ABORT = re.compile(r"(ret = 2|compute status: 1|failed with error 1)\b")
_errors: deque[str] = deque(maxlen=8)
_cancel_flag = ctypes.c_char()  # rebound by expect_abort


@c.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: int) -> None:
    if level == _LEVEL_ERROR:
        line = text.decode(errors="replace").strip()
        # llama.cpp logs a requested abort as an error. A true error may come in the same moment.
        if _cancel_flag.value != b"\0" and _OF_ABORT.search(line):
            return
        _errors.append(line)
        print(line, file=sys.stderr, flush=True)


c.llama_log_set(_log, ctypes.c_void_p(0))
c.llama_backend_init()
c.llama_supports_gpu_offload()  # has the backends look for their devices
STARTUP_ERRORS = tuple(_errors)  # such as that a driver is too old


def expect_abort(flag_address: int) -> None:
    """Ignores what llama.cpp logs of an abort while the byte at `flag_address` requests one."""
    global _cancel_flag
    _cancel_flag = ctypes.c_char.from_address(flag_address)


def clear_errors() -> None:
    """Forgets earlier errors. Call this before a call whose error `last_error` should return."""
    _errors.clear()


def has_errors() -> bool:
    """Returns whether llama.cpp logged an error since `clear_errors`."""
    return bool(_errors)


def last_error() -> str:
    """Returns the error since `clear_errors` that tells most: of memory, else one that a backend
    gives as its own reason, else the first one. llama.cpp's last line is a code."""
    of_memory = filter(is_out_of_memory, _errors)
    reasons = (line for line in _errors if line.startswith("error: "))
    return next(iter((*of_memory, *reasons, *_errors)), "no reason given")
