"""What the transports ask of the daemon, and nothing else of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from llmd.completion.inflight import CompletionHandle, OnPartial
from llmd.completion.types import Outcome
from llmd.context.request import Selected
from llmd.document import Document, Position
from llmd.engine.messages import EngineState


@dataclass(frozen=True, slots=True)
class EngineView:
    """What an editor is shown of the engine. `problems`: sentences for the user, each once."""

    state: EngineState
    share: float  # loaded, 0 to 1
    doing: str  # why it takes time, where that is not the loading itself
    problems: tuple[str, ...]

    @property
    def reason(self) -> str:
        """One sentence about the state; empty where it needs none."""
        return self.problems[0] if self.state == "failed" and self.problems else self.doing


# What a client should do when the daemon has ended: start it at once, when it needs it, or never.
ReconnectPolicy = Literal["restart", "on_demand", "stay"]


@dataclass(eq=False, slots=True)
class Client:
    """One initialized connection. Compared by identity: two of one editor are two clients."""

    name: str
    editor: str  # name and version
    show: Callable[[EngineView], None]
    disconnect: Callable[[ReconnectPolicy], None]
    n_documents: Callable[[], int]


class Service(Protocol):
    def client_connected(self, client: Client) -> None:
        """The client has sent `initialize`; asking for status alone makes no client."""

    def client_gone(self, client: Client) -> None:
        """Called once for each client that connected, after its requests were cancelled."""

    def document_opened(self) -> None:
        """Somebody may soon type."""

    def document_closed(self, document: Document) -> None:
        """Nothing of it is kept."""

    def cursor_idle(self, document: Document, cursor: Position) -> None:
        """Somebody may soon type there."""

    def complete(
        self,
        document: Document,
        cursor: Position,
        *,
        invoked: bool,
        selected: Selected | None = None,
        on_partial: OnPartial | None = None,
        alternative: int = 0,
    ) -> CompletionHandle:
        """Takes a snapshot and supersedes the document's older request, before returning, so that
        an edit which follows in the same read does not change the request. Writes the document's
        `window` and `typed`.

        `on_partial` gets all the text so far, whenever it has grown. An `alternative` of k begins
        with the k-th best other token; its text is empty where there are not so many, and never
        comes from the cache.
        """

    def record_outcome(self, document: Document, outcome: Outcome) -> None:
        """An editor says what became of a suggestion. Counted, by filetype and model."""

    def status(self) -> dict[str, Any]:
        """The object of `llmd status --json`."""

    def why(self, uri: str) -> dict[str, Any] | None:
        """The last request of a document, or of all where `uri` is empty, stage by stage."""

    def settings(self) -> dict[str, Any]:
        """The values in force, and where each came from."""

    def restart(self) -> None:
        """Replaces the engine's worker; returns at once."""

    def use(self) -> None:
        """Loads the model that the config names, where it is another; returns at once."""

    def stop(self, then: ReconnectPolicy) -> None:
        """Ends the daemon soon; returns at once."""
