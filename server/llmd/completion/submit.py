"""Submits completion requests to the engine: the prompt's pieces, the stop rule, the slot."""

from __future__ import annotations

from llmd.config import Config
from llmd.context.request import CompletionRequest
from llmd.engine.client import EngineClient
from llmd.engine.messages import Loaded
from llmd.engine.requests import EngineRequest
from llmd.postprocess.stop import rule_for
from llmd.prompt.build import Piece, build_prompt
from llmd.prompt.families import family_by_name, typed_placement

# The engine ends a request that takes longer. Callers are answered at their own deadline, long
# before, and the request continues for the next key.
TIME_LIMIT_MS = 60_000


class Submitter:
    """Submits requests with the configured limits.

    `disabled_rules`: names of `postprocess.stop.RULES`, for `llmd eval`.
    """

    def __init__(
        self, config: Config, engine: EngineClient, disabled_rules: frozenset[str]
    ) -> None:
        self._config = config
        self._disabled_rules = disabled_rules
        self._engine = engine

    def configure(self, config: Config) -> None:
        self._config = config

    def submit(
        self, request: CompletionRequest, *, background: bool = False, is_prefill: bool = False
    ) -> EngineRequest:
        """Submits the request. `background`: no caller waits for the text, and any other request
        cancels the request. `is_prefill`: only evaluates the prompt."""
        limits, fim = self._config.completion, self._config.fim
        time_limit_ms = max(request.deadline_ms, TIME_LIMIT_MS)
        n_most = limits.max_tokens, limits.max_lines
        rule = rule_for(request.excerpt, *n_most, time_limit_ms, self._disabled_rules)

        def pieces(model: Loaded) -> tuple[Piece, ...]:
            family = family_by_name(model.family)
            typed = typed_placement(family, model.order, fim.typed)
            return build_prompt(
                family, model.order, request.excerpt, request.file_name, typed, fim.heal
            )

        return self._engine.add_request(
            pieces,
            rule,
            self._config.sampling,
            slot=request.slot,
            background=background,
            is_prefill=is_prefill,
            alternative=request.alternative,
        )

    def allows_distant_anchor(self) -> bool | None:
        """Returns whether text of several lines may stand behind the anchor; None if the anchor is
        not in the prompt, or no model is loaded."""
        model = self._engine.info
        if model is None:
            return None
        family = family_by_name(model.family)
        if typed_placement(family, model.order, self._config.fim.typed) != "after_mid":
            return None
        return bool(family.typed)
