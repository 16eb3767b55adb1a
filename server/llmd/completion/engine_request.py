"""A place as a request to the engine: its prompt's pieces, its stop rule, its slot."""

from __future__ import annotations

from collections.abc import Callable

from llmd.config import Config
from llmd.context.request import CompletionRequest
from llmd.engine.client import EngineClient
from llmd.engine.messages import Loaded
from llmd.engine.requests import Job
from llmd.postprocess.stop import rule_for
from llmd.prompt.build import Piece, build
from llmd.prompt.families import by_name, typed_of

BACKGROUND_DEADLINE_MS = 60_000  # nobody waits for it


class EngineRequests:
    """`config` may be set anew at any time; the next request follows it. `without`: rules of
    `postprocess.rules`, for `eval`."""

    def __init__(self, config: Config, engine: EngineClient) -> None:
        self.config = config
        self.disabled_rules: frozenset[str] = frozenset()
        self._engine = engine

    def submit(
        self,
        place: CompletionRequest,
        hear: Callable[[str], None] | None = None,
        *,
        background: bool = False,
        is_prefill: bool = False,
    ) -> Job:
        limits, fim = self.config.completion, self.config.fim
        deadline_ms = BACKGROUND_DEADLINE_MS if background else place.deadline_ms
        n_most = limits.max_tokens, limits.max_lines
        rule = rule_for(place.excerpt, *n_most, deadline_ms, self.disabled_rules)

        def pieces(model: Loaded) -> tuple[Piece, ...]:
            family = by_name(model.family)
            typed = typed_of(family, model.order, fim.typed)
            return build(family, model.order, place.excerpt, place.file_name, typed, fim.heal)

        return self._engine.add_request(
            pieces,
            rule,
            self.config.sampling,
            hear,
            slot=place.slot,
            background=background,
            is_prefill=is_prefill,
            alternative=place.alternative,
        )

    def allows_distant_anchor(self) -> bool | None:
        """Whether text of several lines may stand behind the anchor; None: the anchor is not in
        the prompt, or no model is loaded."""
        model = self._engine.info
        if model is None:
            return None
        family = by_name(model.family)
        if typed_of(family, model.order, self.config.fim.typed) != "after_mid":
            return None
        return bool(family.typed)
