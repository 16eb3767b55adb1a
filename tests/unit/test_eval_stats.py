"""Intervals and tests against values that others have computed, and what must hold of any."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmd.cli.eval import stats


@pytest.mark.parametrize(
    ("n_hits", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
    ],
)  # fmt: skip
def test_wilson(n_hits: int, n: int, low: float, high: float) -> None:
    """The last row is Newcombe's (1998, table I)."""
    found = stats.share(n_hits, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert found.value == n_hits / n


def test_nothing_has_no_share() -> None:
    assert all(math.isnan(x) for x in (stats.share(0, 0).value, stats.mean([]).value))
    assert math.isnan(stats.difference([], []).p)


@pytest.mark.parametrize(
    ("n_gained", "n_lost", "p"),
    [
        (0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (10, 2, 0.03857), (2, 10, 0.03857),
        (600, 500, 0.00282),
    ],
)  # fmt: skip
def test_exact_mcnemar(n_gained: int, n_lost: int, p: float) -> None:
    assert stats.mcnemar(n_gained, n_lost) == pytest.approx(p, abs=1e-5)


def test_a_mean_has_the_interval_of_a_large_sample() -> None:
    values = [0.0, 1.0] * 500
    found = stats.mean(values)
    half = 1.96 * 0.5 / math.sqrt(1000)
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - half, abs=0.005)
    assert found.high == pytest.approx(0.5 + half, abs=0.005)


def test_every_draw_is_the_same_each_time() -> None:
    values = [float(n * n % 17) for n in range(50)]
    assert stats.mean(values) == stats.mean(values)
    assert stats.difference(values, values[::-1]) == stats.difference(values, values[::-1])


def test_a_ratio_is_of_sums() -> None:
    assert stats.ratio([1, 3], [2, 2]).value == 1.0
    assert stats.ratio([1, 3], [0, 0]).value == math.inf


def test_hits_are_compared_place_by_place() -> None:
    first = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    second = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    found = stats.difference(first, second)
    assert found.value == pytest.approx(5 / 7)
    assert found.p == 0.0625
    assert found.low <= found.value <= found.high
    assert stats.difference(second, first).value == -found.value


def test_equal_sides_differ_by_nothing() -> None:
    for values in ([0.5, 2.0, 3.0], [1.0, 0.0]):
        found = stats.difference(values, values)
        assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_sign_flips_agree_with_all_of_them() -> None:
    """Of 2^8 flips of eight equal gaps two are as far out."""
    p = stats.sign_flips(np.full(8, 1.5))
    assert p == pytest.approx(2 / 256, abs=0.004)
    assert stats.sign_flips(np.array([1.0, -1.0, 2.0, -2.0])) == pytest.approx(1.0)
