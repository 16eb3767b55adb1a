"""Summarises the results of a setting, and compares two settings place by place. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmd.cli.eval import stats
from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.results_file import EvalResult
from llmd.cli.eval.score import Score, score
from llmd.cli.eval.stats import Difference, Estimate

# Metrics that are shares of places, and metrics that are compared place by place.
SHARES = ("first_line", "whole", "passed", "empty", "repeats", "breaks")
COMPARED = ("first_line", "whole", "similarity", "passed", "empty", "kept")
THRESHOLDS = (-3.0, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25)
# The attributes of a `Score` that are named differently from their metric.
_SCORE_NAMES = {"empty": "is_empty", "kept": "n_kept"}


@dataclass(frozen=True, slots=True)
class ScoredResult:
    case: EvalCase
    result: EvalResult
    score: Score
    passed: bool | None  # None: not run


ScoredByPlace = Mapping[str, ScoredResult]


@dataclass(frozen=True, slots=True)
class ThresholdEffect:
    """Describes the suggestions with a mean log-probability of `threshold` or more: their share of
    all suggestions (`shown`) and of the kept characters (`kept`), and the characters shown for
    each kept one."""

    threshold: float
    shown: float
    kept: float
    shown_per_kept: float


@dataclass(frozen=True, slots=True)
class Summary:
    name: str
    n: int
    n_repeats: int
    metrics: Mapping[str, Estimate]
    gates: tuple[ThresholdEffect, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    first: str
    second: str
    n: int
    metrics: Mapping[str, Difference]


def score_result(case: EvalCase, result: EvalResult, passed: bool | None) -> ScoredResult:
    """Scores a result. An empty text has failed the tests without a run."""
    scored = score(case, result.text)
    return ScoredResult(case, result, scored, False if case.test and scored.is_empty else passed)


def summarise(name: str, results: Sequence[ScoredResult]) -> Summary:
    metrics: dict[str, Estimate] = {}
    for metric in SHARES:
        values = [value for item in results if (value := _value(item, metric)) is not None]
        if values and (metric != "passed" or _is_tested(results)):
            metrics[metric] = stats.share(int(sum(values)), len(values))
    kept = [float(item.score.n_kept) for item in results]
    metrics["similarity"] = stats.mean([item.score.similarity for item in results])
    metrics["kept"] = stats.mean(kept)
    metrics["shown_per_kept"] = stats.ratio([float(item.score.n_shown) for item in results], kept)
    metrics["tokens_per_kept"] = stats.ratio([float(i.result.n_decoded) for i in results], kept)
    n_repeats = sum(item.score.repeats for item in results)
    return Summary(name, len(results), n_repeats, metrics, threshold_effects(results))


def compare(
    first_name: str, first: ScoredByPlace, second_name: str, second: ScoredByPlace
) -> Comparison:
    """Compares over the places that both settings have completed."""
    shared = [(first[key], second[key]) for key in first if key in second]
    are_tested = _is_tested(list(first.values())) and _is_tested(list(second.values()))
    metrics = {}
    for metric in COMPARED:
        pairs = [(_value(a, metric), _value(b, metric)) for a, b in shared]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if known and (metric != "passed" or are_tested):
            metrics[metric] = stats.difference([a for a, _ in known], [b for _, b in known])
    return Comparison(first_name, second_name, len(shared), metrics)


def threshold_effects(results: Sequence[ScoredResult]) -> tuple[ThresholdEffect, ...]:
    """Returns nothing if no result has a probability, as those of another server."""
    rated = [item for item in results if item.result.logprob_line < 0 and not item.score.is_empty]
    n_kept = sum(item.score.n_kept for item in rated)
    if not n_kept:
        return ()
    effects = []
    for threshold in THRESHOLDS:
        shown = [item.score for item in rated if item.result.logprob_line >= threshold]
        kept = sum(score.n_kept for score in shown)
        cost = sum(score.n_shown for score in shown) / kept if kept else float("inf")
        effects.append(ThresholdEffect(threshold, len(shown) / len(rated), kept / n_kept, cost))
    return tuple(effects)


def _is_tested(results: Sequence[ScoredResult]) -> bool:
    """Returns whether all results with tests were run: a part does not represent the whole."""
    testable = [item for item in results if item.case.test]
    return bool(testable) and all(item.passed is not None for item in testable)


def _value(item: ScoredResult, metric: str) -> float | None:
    if metric == "passed":
        value = item.passed
    else:
        value = getattr(item.score, _SCORE_NAMES.get(metric, metric))
    return None if value is None else float(value)
