"""Summaries, comparisons and what is printed of them."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET

import msgspec
import pytest

from llmd.cli.eval import report
from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.report import EvalReport
from llmd.cli.eval.results_file import EvalResult
from llmd.cli.eval.summary import ScoredResult, compare, score_result, summarise, threshold_effects
from llmd.cli.report_files import draw_charts

PLACES = [
    EvalCase(f"T/{n}", f"x{n} = ", "\n", "abc", entry_point="f", test="check") for n in range(4)
]


def answers(
    *texts: str, logprob: float = -0.4, passed: bool | None = None
) -> dict[str, ScoredResult]:
    return {
        place.digest: score_result(
            place, EvalResult("k", place.digest, text, n_decoded=2, logprob_line=logprob), passed
        )
        for place, text in zip(PLACES, texts, strict=False)
    }


def test_a_summary_counts() -> None:
    found = summarise("s", list(answers("abc", "abd", "", "x").values()))
    values = {name: estimate.value for name, estimate in found.metrics.items()}
    assert found.n == 4
    assert values["first_line"] == values["whole"] == values["empty"] == 0.25
    assert values["kept"] == (3 + 2) / 4
    assert values["shown_per_kept"] == (3 + 3 + 1) / 5
    assert values["tokens_per_kept"] == 8 / 5
    assert values["similarity"] == pytest.approx((1 + 2 / 3) / 4)
    assert "passed" not in values


def test_a_share_that_passed_is_of_all() -> None:
    found = summarise("s", list(answers("abc", "abd", "", passed=True).values()))
    assert found.metrics["passed"].value == pytest.approx(2 / 3)  # empty has failed
    half = [*answers("abc", passed=True).values(), *answers("x", "y").values()]
    assert "passed" not in summarise("s", half).metrics


def test_two_settings_are_compared_where_both_answered() -> None:
    found = compare("a", answers("abc", "x", "x"), "b", answers("abc", "abc"))
    assert (found.n, found.metrics["first_line"].value) == (2, 0.5)
    assert found.metrics["kept"].value == 1.5


def test_a_gate_tells_what_is_left() -> None:
    likely = list(answers("abc", logprob=-0.3).values())
    unlikely = list(answers("xxx", "xxx", "abx", logprob=-0.9).values())[1:]
    found = {gate.threshold: gate for gate in threshold_effects([*likely, *unlikely])}
    assert (found[-3.0].shown, found[-3.0].kept) == (1.0, 1.0)
    assert (found[-0.5].shown, found[-0.5].kept, found[-0.5].shown_per_kept) == (1 / 3, 0.6, 1.0)
    assert found[-0.25].shown_per_kept == math.inf
    assert threshold_effects(list(answers("abc", logprob=0.0).values())) == ()


def made() -> EvalReport:
    one, other = answers("abc", "abx", "abx"), answers("abc", "abc", "")
    return EvalReport(
        "some holes",
        4,
        False,
        (summarise("heal=on", list(one.values())), summarise("heal=off", list(other.values()))),
        (compare("heal=on", one, "heal=off", other),),
    )


def test_the_tables_are_aligned_and_say_what_is_unfinished() -> None:
    text = report.as_text(made())
    assert text.startswith("some holes: 4 places; not finished\n")
    assert "33.3 (6.1 to 79.2)" in text
    assert "+33.3 (" in text
    for block in text.split("\n\n"):
        rows = [line for line in block.split("\n") if line.startswith("|")]
        assert len({len(row) for row in rows}) <= 1
        assert len({row.count("|") for row in rows}) <= 1


def test_json_has_the_same_and_only_finite_numbers() -> None:
    data = msgspec.json.encode(made())
    found = json.loads(data, parse_constant=lambda _: pytest.fail("not finite"))
    first, second = found["settings"]
    assert (first["name"], first["n"], second["name"]) == ("heal=on", 3, "heal=off")
    assert first["metrics"]["first_line"]["value"] == pytest.approx(1 / 3)
    assert found["pairs"][0]["metrics"]["first_line"]["p"] == 1.0


def test_the_chart_is_xml_with_a_dot_for_each_setting_and_measure() -> None:
    root = ET.fromstring(draw_charts(report.as_charts(made())) or "")  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    titles = {text.text for text in root.iter(f"{space}text")}
    assert {"first line, %", "heal=on", "heal=off"} <= titles
    n_measures = len([name for name in report.CHARTS if name != "passed"])
    assert len(list(root.iter(f"{space}circle"))) == 2 * n_measures


def test_nothing_measured_is_no_chart() -> None:
    assert draw_charts(report.as_charts(EvalReport("none", 0, True, (), ()))) == ""
