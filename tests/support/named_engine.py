"""A daemon whose engine says the name of its model and the version that it was asked about:
`python -m tests.support.named_engine serve`, and its worker with SOCKET_FD FLAGS_FD. A load waits
while the file NAME.held lies beside the model."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from functools import partial
from pathlib import Path

from llmd.cli import main
from llmd.daemon import daemon
from llmd.engine import messages
from llmd.engine.client import EngineClient
from llmd.engine.messages import Cost, Done, Generate, Load, Loaded

NO_ROOM = "LLMD_TEST_NO_ROOM"
COMMAND = (sys.executable, __file__)
LOOK_S = 0.005
_VERSION = re.compile(r"v(\d+) = ")


def held(path: Path) -> Path:
    return path.with_suffix(".held")


def loaded(name: str) -> Loaded:
    return Loaded(
        name, "plain", "psm", "F16", "cpu", 512, 1, 0, "f16", "f16", False, 64, 1, 1 << 20, ""
    )


def serve(link: socket.socket) -> None:
    name, splitter = "", messages.FrameDecoder()
    while data := link.recv(1 << 16):
        for frame in map(messages.decode_to_worker, splitter.feed(data)):
            if isinstance(frame, Load):
                name = Path(frame.path).stem
                while held(Path(frame.path)).exists():
                    time.sleep(LOOK_S)
                link.sendall(messages.encode(loaded(name)))
            elif isinstance(frame, Generate):
                link.sendall(messages.encode(_done(name, frame)))


def _done(name: str, asked: Generate) -> Done:
    versions = _VERSION.findall("".join(piece.text for piece in asked.pieces))
    return Done(asked.id, f"{name}_{versions[-1]}", "eog", Cost(n_prompt=9))


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        link = socket.socket(fileno=int(sys.argv[1]))
        link.setblocking(True)
        serve(link)
    has_room = not os.environ.get(NO_ROOM)
    daemon.EngineClient = partial(  # type: ignore[assignment,attr-defined]
        EngineClient, command=COMMAND, has_room=lambda *_: has_room
    )
    sys.exit(main.main())
