"""Answers that need no model: what was said at this place, or at one from which exactly that was
typed. Pure, but for what it keeps."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from llmd.context.window import Excerpt

MAX_DOCUMENTS, MAX_ANSWERS = 32, 16


@dataclass(frozen=True, slots=True)
class Said:
    """`text` as it was shown where `prefix` and `suffix` stood around the cursor; the suffix is
    the model's, without the closers that an editor adds. `is_ahead`: nobody had asked.
    `is_other`: an alternative, which only goes on where some of it has been typed."""

    prefix: str
    suffix: str
    text: str
    is_ahead: bool = False
    is_other: bool = False

    def rest(self, excerpt: Excerpt) -> str | None:
        """What is still to be shown of it here; None: it says nothing about this place."""
        if self.is_other and len(excerpt.prefix) == len(self.prefix):
            return None
        return rest_of(self.text, self.prefix, self.suffix, excerpt)


def rest_of(text: str, prefix: str, suffix: str, excerpt: Excerpt) -> str | None:
    """What is left of `text` after what has been typed since; None where that is something else,
    or all of it."""
    n_typed = len(excerpt.prefix) - len(prefix)
    if n_typed < 0 or excerpt.shown_suffix != suffix or not excerpt.prefix.startswith(prefix):
        return None
    is_said = text.startswith(excerpt.prefix[len(prefix) :])
    return text[n_typed:] if is_said and (n_typed < len(text) or not n_typed) else None


class Recall:
    """The latest answers of the latest documents. Owned by the event loop."""

    def __init__(self) -> None:
        self._said: OrderedDict[int, deque[Said]] = OrderedDict()

    def add(self, document: int, said: Said) -> None:
        kept = self._said.setdefault(document, deque(maxlen=MAX_ANSWERS))
        self._said.move_to_end(document)
        kept.append(said)
        if len(self._said) > MAX_DOCUMENTS:
            self._said.popitem(last=False)

    def find(self, document: int, excerpt: Excerpt) -> tuple[Said, str] | None:
        """The newest answer that holds here, and what is left of it."""
        for said in reversed(self._said.get(document, ())):
            if (rest := said.rest(excerpt)) is not None:
                return said, rest
        return None

    def forget(self, document: int | None = None) -> None:
        """One document's, or all."""
        if document is None:
            self._said.clear()
        else:
            self._said.pop(document, None)
