"""What a setting's answers come to, and how two settings differ place by place. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmd.cli.eval import stats
from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.results_file import EvalResult
from llmd.cli.eval.score import Score, score
from llmd.cli.eval.stats import Difference, Estimate

# What is compared place by place, and what is a share of places.
SHARES = ("first_line", "whole", "passed", "empty", "repeats", "breaks")
COMPARED = ("first_line", "whole", "similarity", "passed", "empty", "kept")
THRESHOLDS = (-3.0, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25)


@dataclass(frozen=True, slots=True)
class ScoredResult:
    place: EvalCase
    result: EvalResult
    score: Score
    passed: bool | None  # None: not tried


@dataclass(frozen=True, slots=True)
class ThresholdEffect:
    """What would be left if nothing less likely than `threshold` were shown: of the suggestions
    and of the kept characters a share, and the characters shown for each kept."""

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
    metrics: Mapping[str, Difference] = field(default_factory=dict)


def score_result(place: EvalCase, row: EvalResult, passed: bool | None) -> ScoredResult:
    """An empty answer has failed without a try."""
    found = score(place, row.text)
    return ScoredResult(place, row, found, False if place.test and found.is_empty else passed)


def summarise(name: str, answers: Sequence[ScoredResult]) -> Summary:
    metrics: dict[str, Estimate] = {}
    for metric in SHARES:
        values = [value for item in answers if (value := _value(item, metric)) is not None]
        if values and (metric != "passed" or _is_tried(answers)):
            metrics[metric] = stats.share(int(sum(values)), len(values))
    shown, kept, decoded = (
        [float(n) for n in numbers]
        for numbers in (
            [item.score.n_shown for item in answers],
            [item.score.n_kept for item in answers],
            [item.result.n_decoded for item in answers],
        )
    )
    metrics["similarity"] = stats.mean([item.score.similarity for item in answers])
    metrics["kept"] = stats.mean(kept)
    metrics["shown_per_kept"] = stats.ratio(shown, kept)
    metrics["tokens_per_kept"] = stats.ratio(decoded, kept)
    n_repeats = sum(item.score.repeats for item in answers)
    return Summary(name, len(answers), n_repeats, metrics, threshold_effects(answers))


def compare(
    first: str, one: Mapping[str, ScoredResult], second: str, other: Mapping[str, ScoredResult]
) -> Comparison:
    """Over the places that both have answered; both maps are by place."""
    shared = [(one[key], other[key]) for key in one if key in other]
    metrics = {}
    for metric in COMPARED:
        pairs = [(_value(a, metric), _value(b, metric)) for a, b in shared]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        is_known = metric != "passed" or (
            _is_tried(list(one.values())) and _is_tried(list(other.values()))
        )
        if both and is_known:
            metrics[metric] = stats.difference([a for a, _ in both], [b for _, b in both])
    return Comparison(first, second, len(shared), metrics)


def threshold_effects(answers: Sequence[ScoredResult]) -> tuple[ThresholdEffect, ...]:
    """Empty where no answer tells its probability, as another server's does not."""
    likely = [item for item in answers if item.result.logprob_line < 0 and not item.score.is_empty]
    n_kept = sum(item.score.n_kept for item in likely)
    if not n_kept:
        return ()
    found = []
    for threshold in THRESHOLDS:
        left = [item.score for item in likely if item.result.logprob_line >= threshold]
        kept = sum(score.n_kept for score in left)
        cost = sum(score.n_shown for score in left) / kept if kept else float("inf")
        found.append(ThresholdEffect(threshold, len(left) / len(likely), kept / n_kept, cost))
    return tuple(found)


def _is_tried(answers: Sequence[ScoredResult]) -> bool:
    """All that can be: half of a set says nothing of the whole."""
    able = [item for item in answers if item.place.test]
    return bool(able) and all(item.passed is not None for item in able)


def _value(item: ScoredResult, metric: str) -> float | None:
    found = item.score
    values: dict[str, float | None] = {
        "first_line": found.first_line,
        "whole": found.whole,
        "similarity": found.similarity,
        "empty": found.is_empty,
        "repeats": found.repeats,
        "breaks": found.breaks,
        "passed": item.passed,
        "kept": found.n_kept,
    }
    value = values[metric]
    return None if value is None else float(value)
