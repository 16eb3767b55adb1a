"""Defines what the transports may call of the daemon, and the values that they exchange."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from llmd.completion.handle import CompletionHandle, OnPartial
from llmd.completion.trace import RequestStages
from llmd.completion.types import Outcome
from llmd.config.load import SettingsReport
from llmd.context.request import Selected
from llmd.document import Document, Position
from llmd.engine.report import EngineState
from llmd.transport.status_types import Status


@dataclass(frozen=True, slots=True)
class EngineView:
    """Describes the engine for a user. `problems`: sentences, each to be shown once."""

    state: EngineState
    share: float  # of the model that is loaded, 0 to 1
    doing: str  # why loading takes longer than reading the file; may be empty
    problems: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Returns a sentence about the state; empty if the state explains itself."""
        return self.problems[0] if self.state == "failed" and self.problems else self.doing


# Tells a client when to start the daemon again after its end: at once, on the next use, or never.
ReconnectPolicy = Literal["restart", "on_demand", "stay"]


@dataclass(eq=False, slots=True)
class Client:
    """Represents an initialized connection. Two connections of one editor are two clients."""

    name: str
    editor: str  # name and version
    show: Callable[[EngineView], None]
    disconnect: Callable[[ReconnectPolicy], None]
    n_documents: Callable[[], int]


class Service(Protocol):
    def client_connected(self, client: Client) -> None:
        """Registers a client that has sent `initialize` or `hello`. A connection that only asks for
        the status is not a client."""

    def client_gone(self, client: Client) -> None:
        """Removes a client, once, after its requests were cancelled."""

    def document_opened(self) -> None:
        """Prepares for a completion: the user may type soon."""

    def document_closed(self, document: Document) -> None:
        """Drops what is cached for the document."""

    def cursor_idle(self, document: Document, cursor: Position) -> None:
        """Prepares for a completion at the cursor, which has come to rest there."""

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
        """Requests a completion. Takes a snapshot and supersedes the document's older request
        before returning, so that an edit which follows in the same read does not change the
        request. Writes the document's `window` and `typed`.

        `on_partial` gets the whole text so far whenever the text has grown. `alternative` k > 0
        begins with the k-th best other token and bypasses the suggestion cache; the text is empty
        if there are fewer tokens to choose from.
        """

    def record_outcome(self, document: Document, outcome: Outcome) -> None:
        """Counts what the user did with a suggestion, by filetype and model."""

    def status(self) -> Status:
        """Returns the object of `llmd status --json`."""

    def why(self, uri: str) -> RequestStages | None:
        """Returns the last request of a document, or of all where `uri` is empty, stage by
        stage."""

    def settings(self) -> SettingsReport:
        """Returns the values in effect, and the source of each."""

    def restart(self) -> None:
        """Replaces the engine's worker. Returns at once."""

    def use(self) -> None:
        """Loads the model that the config names, if another is loaded. Returns at once."""

    def stop(self, then: ReconnectPolicy) -> None:
        """Ends the daemon soon. Returns at once."""
