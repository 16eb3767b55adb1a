"""Wraps the worker's socket to the daemon. A reader thread queues each message with its time of
arrival, and exits the process when the daemon closes the socket."""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
from typing import NoReturn

from llmd.engine import messages

Arrival = tuple[float, messages.ToWorker]


class DaemonLink:
    """Wraps the socket to the daemon. Exits the process when the daemon is gone."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self.arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="frames", daemon=True).start()

    def send(self, frame: messages.FromWorker) -> None:
        try:
            self._socket.sendall(messages.encode(frame))
        except OSError:
            exit_now()

    def _read(self) -> NoReturn:
        splitter = messages.FrameDecoder()
        try:
            while data := self._socket.recv(1 << 16):
                for body in splitter.feed(data):
                    frame = messages.decode_to_worker(body)
                    self.arrivals.put((time.monotonic(), frame))
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            print(
                f"Worker exits: {type(error).__name__} while reading the daemon's socket",
                file=sys.stderr,
            )
        exit_now()


def exit_now(code: int = 0) -> NoReturn:
    """Ends the process without the destructors of C++: Metal's would abort, as they find the loaded
    model's buffers (llama.cpp, pull request 24368)."""
    sys.stderr.flush()
    os._exit(code)
