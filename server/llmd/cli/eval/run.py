"""Settings times places: asks what has not been asked yet, keeps each answer as it comes, and runs
the tests of what was answered."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import msgspec

from llmd import __version__
from llmd.cli.eval import pipeline, results_file, sandbox
from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.llama_server import LlamaServer, server_url
from llmd.cli.eval.pipeline import Completer, EvalCompletion
from llmd.cli.eval.report import EvalReport
from llmd.cli.eval.results_file import EvalResult, ProgramVerdict
from llmd.cli.eval.settings_grid import EvalSetting
from llmd.cli.eval.summary import ScoredResult, compare, score_result, summarise
from llmd.config import Config
from llmd.config.load import load_settings
from llmd.engine.http_client import HttpClient
from llmd.models.resolve import model_path

RESULTS, CHECKS = "results.jsonl", "checks.jsonl"
# Under the settings that vary; greedy, so that the same place has the same answer each time.
BASE_FLAGS = (
    "sampling.profile=greedy",
    f"completion.deadline_ms={pipeline.DEADLINE_MS}",
    "completion.debounce_ms=0",
)
ALL_PAIRS = 4  # up to so many settings each is compared with each, more only with the first

Advance = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EvalVariant:
    """A setting with the whole config that it stands for. `key` tells it from any other, also
    from the same with another model file or another llmd."""

    setting: EvalSetting
    config: Config
    key: str


@dataclass(frozen=True, slots=True)
class EvalPlan:
    title: str
    cases: tuple[EvalCase, ...]
    variants: tuple[EvalVariant, ...]
    has_tests: bool
    folder: Path


def eval_variant(setting: EvalSetting) -> EvalVariant:
    """
    Raises:
        BadInput: a flag or the user's config is wrong.
        ModelError: the model's file is not there.
    """
    config = load_settings(flags=(*BASE_FLAGS, *setting.flags)).config
    told: list[object] = [__version__, setting.is_bare, setting.client, setting.url]
    told += [setting.anchor, sorted(setting.without)]
    if not setting.client:
        path = model_path(config.model)
        found = path.stat() if path.exists() else None
        told += [config, str(path), found and (found.st_size, found.st_mtime_ns)]
    return EvalVariant(setting, config, hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:16])


def n_requests(plan: EvalPlan) -> int:
    return len(plan.cases) * len(plan.variants)


async def run_requests(plan: EvalPlan, advance: Advance) -> None:
    """`advance` is called with the setting's name for each answer, old or new.

    Raises:
        LlmdError: a setting gives no answers.
    """
    done = {(row.key, row.place) for row in results_file.read(plan.folder / RESULTS, EvalResult)}
    writer = results_file.ResultsWriter(plan.folder / RESULTS)
    try:
        for each in plan.variants:
            todo = [place for place in plan.cases if (each.key, place.digest) not in done]
            for _ in range(len(plan.cases) - len(todo)):
                advance(each.setting.name)
            if todo:
                await _run_variant(each, todo, writer, advance)
    finally:
        writer.close()


async def _run_variant(
    each: EvalVariant,
    todo: Sequence[EvalCase],
    writer: results_file.ResultsWriter,
    advance: Advance,
) -> None:
    async with _open_completer(each) as answerer:
        for place in todo:
            writer.add(_to_result(each, place, await answerer.complete(place)))
            advance(each.setting.name)


@asynccontextmanager
async def _open_completer(each: EvalVariant) -> AsyncIterator[Completer]:
    if each.setting.client:
        async with HttpClient(server_url(each.setting.url)) as http:
            yield LlamaServer(http, each.setting.client)
        return
    async with pipeline.open_completer(each.setting, each.config) as answerer:
        yield answerer


def _to_result(each: EvalVariant, place: EvalCase, reply: EvalCompletion) -> EvalResult:
    spent = msgspec.structs.asdict(reply.trace)
    kept = {name: spent[name] for name in EvalResult.__struct_fields__ if name in spent}
    return EvalResult(key=each.key, place=place.digest, text=reply.text, **kept)


def run_tests(plan: EvalPlan, advance: Advance) -> None:
    """Runs the tests of every answer that has not been tried; equal programs once."""
    known = {check.program for check in results_file.read(plan.folder / CHECKS, ProgramVerdict)}
    sources = {_digest(source): source for source in _programs(plan)}
    writer = results_file.ResultsWriter(plan.folder / CHECKS)
    try:
        for digest, source in sources.items():
            if digest not in known:
                writer.add(ProgramVerdict(digest, sandbox.runs_to_end(source)))
            advance("tests")
    finally:
        writer.close()


def n_programs(plan: EvalPlan) -> int:
    return len(set(_programs(plan)))


def _programs(plan: EvalPlan) -> list[str]:
    rows = _read_results(plan)
    return [
        sandbox.program(place, row.text)
        for each in plan.variants
        for place in plan.cases
        if place.test and (row := rows.get((each.key, place.digest))) and row.text.strip()
    ]


def build_report(plan: EvalPlan) -> EvalReport:
    """Of what is there, whether or not all is.

    Raises:
        BadInput: the folder's files are something else.
    """
    rows = _read_results(plan)
    checks = {
        check.program: check.passed
        for check in results_file.read(plan.folder / CHECKS, ProgramVerdict)
    }
    answers = [_scored_results(plan, each, rows, checks) for each in plan.variants]
    names = [each.setting.name for each in plan.variants]
    named = list(zip(names, answers, strict=True))
    return EvalReport(
        title=plan.title,
        n_places=len(plan.cases),
        is_whole=all(len(found) == len(plan.cases) for found in answers),
        settings=tuple(summarise(name, list(found.values())) for name, found in named if found),
        pairs=tuple(
            compare(name, found, other_name, other)
            for (name, found), (other_name, other) in _pairs_to_compare(named)
            if found and other
        ),
    )


Named = tuple[str, dict[str, ScoredResult]]


def _pairs_to_compare(named: Sequence[Named]) -> list[tuple[Named, Named]]:
    if len(named) <= ALL_PAIRS:
        return list(combinations(named, 2))
    return [(named[0], other) for other in named[1:]]


def _read_results(plan: EvalPlan) -> dict[tuple[str, str], EvalResult]:
    return {
        (row.key, row.place): row for row in results_file.read(plan.folder / RESULTS, EvalResult)
    }


def _scored_results(
    plan: EvalPlan,
    each: EvalVariant,
    rows: Mapping[tuple[str, str], EvalResult],
    checks: Mapping[str, bool],
) -> dict[str, ScoredResult]:
    found = {}
    for place in plan.cases:
        if row := rows.get((each.key, place.digest)):
            tried = checks.get(_digest(sandbox.program(place, row.text)))
            found[place.digest] = score_result(place, row, tried)
    return found


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode(errors="replace")).hexdigest()
