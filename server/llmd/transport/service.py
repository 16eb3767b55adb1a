"""What the transports ask of the daemon, and nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from llmd.document.store import Document
from llmd.document.text import Position
from llmd.trace import Trace


@dataclass(frozen=True, slots=True)
class Selected:
    """The completion menu's chosen item: `text` would replace what lies between the positions."""

    start: Position
    end: Position
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    trace: Trace


@dataclass(eq=False, slots=True)
class Client:
    """One initialized connection. Compared by identity: two of one editor are two clients."""

    name: str
    editor: str  # name and version


class Service(Protocol):
    def client_connected(self, client: Client) -> None:
        """The client has sent `initialize`; asking for status alone makes no client."""

    def client_gone(self, client: Client) -> None:
        """Called once for each client that connected, after its requests were cancelled."""

    def complete(
        self,
        document: Document,
        cursor: Position,
        *,
        invoked: bool,
        selected: Selected | None = None,
        on_partial: Callable[[str], None] | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """A plain function: takes its snapshot and supersedes this document's older request at
        once, so that an edit which follows in the same read is not seen. The coroutine waits for
        the text; it is always started, and cancelling it cancels the engine. `on_partial` gets
        all the text so far.

        Raises:
            LlmdError: from the coroutine; a sentence for the user.
        """

    def status(self) -> dict[str, Any]:
        """The object of `llmd status --json`."""

    def stop(self) -> None:
        """Ends the daemon soon; returns at once."""
