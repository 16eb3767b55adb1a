"""An engine worker that says what a file tells it to: `python -m tests.editors.fixed_worker
SOCKET_FD FLAGS_FD`. The file, named by LLMD_FIXED_TEXT, is JSON: `texts`, the suggestion and its
alternatives; `hold`, so many characters are said and the rest when the file says otherwise."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from llmd.engine import messages
from llmd.engine.cancel_flags import CancelFlagReader
from llmd.engine.messages import Cost, Done, Generate, Load, Loaded, Partial, empty_done

VARIABLE = "LLMD_FIXED_TEXT"
SAID = "said"  # beside it: the monotonic time of the latest text, in ns
LOOK_S = 0.005
LOADED = Loaded(
    "fixed", "plain", "psm", "F16", "cpu", 512, 1, 0, "f16", "f16", False, 64, 1, 1 << 20, ""
)


class Worker:
    def __init__(self, link: socket.socket, flags: CancelFlagReader) -> None:
        self._link = link
        self._flags = flags
        self._lock = threading.Lock()

    def serve(self) -> None:
        splitter = messages.FrameDecoder()
        while data := self._link.recv(1 << 16):
            for frame in map(messages.decode_to_worker, splitter.feed(data)):
                if isinstance(frame, Load):
                    self._send(LOADED)
                elif isinstance(frame, Generate):
                    threading.Thread(target=self._answer, args=(frame,), daemon=True).start()

    def _send(self, frame: messages.FromWorker) -> None:
        with self._lock:
            self._link.sendall(messages.encode(frame))

    def _answer(self, asked: Generate) -> None:
        if asked.background or asked.is_prefill:
            return self._send(empty_done(asked.id, "cancelled"))
        told = _told()
        texts, nth = told["texts"], getattr(asked, "alternative", 0)
        text = texts[nth] if nth < len(texts) else ""
        if (hold := told["hold"]) is not None:
            self._send(Partial(asked.id, text[:hold]))
        while _told()["hold"] is not None:
            if self._flags.is_set(asked.id):
                return self._send(empty_done(asked.id, "cancelled"))
            time.sleep(LOOK_S)
        Path(os.environ[VARIABLE]).with_name(SAID).write_text(str(time.monotonic_ns()))
        return self._send(Done(asked.id, text, "eog", Cost(n_prompt=9, n_cached=9)))


def _told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(os.environ[VARIABLE]).read_text())
    return found


if __name__ == "__main__":
    link = socket.socket(fileno=int(sys.argv[1]))
    link.setblocking(True)
    Worker(link, CancelFlagReader(int(sys.argv[2]))).serve()
