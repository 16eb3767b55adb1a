"""Runs variants on cases: requests the completions that are missing, stores each one at once, and
runs the tests of the completions."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
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
from llmd.cli.eval.results_file import EvalResult, ProgramVerdict, ResultsWriter
from llmd.cli.eval.settings_grid import EvalSetting
from llmd.cli.eval.summary import ScoredByPlace, compare, score_result, summarise
from llmd.config import Config
from llmd.config.load import load_settings
from llmd.engine.http_client import HttpClient
from llmd.models.resolve import model_path

RESULTS, CHECKS = "results.jsonl", "checks.jsonl"
# Defaults below the settings that vary. Greedy, so that each run has the same completions.
BASE_FLAGS = (
    "sampling.profile=greedy",
    f"completion.deadline_ms={pipeline.DEADLINE_MS}",
    "completion.debounce_ms=0",
)
ALL_PAIRS = 4  # up to this many variants, all pairs are compared; more only with the first

CompletedCases = list[tuple[EvalCase, EvalResult]]  # of one variant


@dataclass(frozen=True, slots=True)
class EvalVariant:
    """Holds a setting with its complete config. `key` changes with the setting, the config, the
    model's file and llmd's version."""

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
        BadInput: a flag or the user's config is invalid.
        ModelError: the model's file is missing.
    """
    config = load_settings(flags=(*BASE_FLAGS, *setting.flags)).config
    identity: list[object] = [__version__, setting.is_bare, setting.client, setting.url]
    identity += [setting.anchor, sorted(setting.without)]
    if not setting.client:
        path = model_path(config.model)
        stat = path.stat() if path.exists() else None
        identity += [config, str(path), stat and (stat.st_size, stat.st_mtime_ns)]
    key = hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:16]
    return EvalVariant(setting, config, key)


async def run_requests(plan: EvalPlan, advance: Callable[[str], None]) -> None:
    """Calls `advance` with the setting's name for each completion, stored or new.

    Raises:
        LlmdError: an engine or a server does not answer.
    """
    path = plan.folder / RESULTS
    stored = {(result.key, result.place) for result in results_file.read(path, EvalResult)}
    with closing(ResultsWriter(path)) as writer:
        for variant in plan.variants:
            name = variant.setting.name
            missing = [case for case in plan.cases if (variant.key, case.digest) not in stored]
            for _ in range(len(plan.cases) - len(missing)):
                advance(name)
            if not missing:
                continue
            async with _open_completer(variant) as completer:
                for case in missing:
                    completion = await completer.complete(case)
                    writer.add(_to_result(variant, case, completion))
                    advance(name)


@asynccontextmanager
async def _open_completer(variant: EvalVariant) -> AsyncIterator[Completer]:
    setting = variant.setting
    if setting.client:
        async with HttpClient(server_url(setting.url)) as http:
            yield LlamaServer(http, setting.client)
    else:
        async with pipeline.open_completer(setting, variant.config) as completer:
            yield completer


def _to_result(variant: EvalVariant, case: EvalCase, completion: EvalCompletion) -> EvalResult:
    trace = msgspec.structs.asdict(completion.trace)
    costs = {name: trace[name] for name in EvalResult.__struct_fields__ if name in trace}
    return EvalResult(key=variant.key, place=case.digest, text=completion.text, **costs)


def run_tests(plan: EvalPlan, advance: Callable[[str], None]) -> None:
    """Runs each program that has no verdict yet; equal programs once."""
    path = plan.folder / CHECKS
    known = {verdict.program for verdict in results_file.read(path, ProgramVerdict)}
    sources = {_digest(source): source for source in _programs(plan)}
    with closing(ResultsWriter(path)) as writer:
        for digest, source in sources.items():
            if digest not in known:
                writer.add(ProgramVerdict(digest, sandbox.runs_to_end(source)))
            advance("tests")


def n_programs(plan: EvalPlan) -> int:
    return len(set(_programs(plan)))


def _programs(plan: EvalPlan) -> list[str]:
    return [
        sandbox.program(case, result.text)
        for completed in _completed_cases(plan)
        for case, result in completed
        if case.test and result.text.strip()
    ]


def build_report(plan: EvalPlan) -> EvalReport:
    """Reports the stored results, complete or not.

    Raises:
        BadInput: the folder's files have other content.
    """
    verdicts = {
        verdict.program: verdict.passed
        for verdict in results_file.read(plan.folder / CHECKS, ProgramVerdict)
    }
    scored = [_scored_results(completed, verdicts) for completed in _completed_cases(plan)]
    names = [variant.setting.name for variant in plan.variants]
    named = list(zip(names, scored, strict=True))
    pairs = list(combinations(named, 2))
    if len(named) > ALL_PAIRS:
        pairs = pairs[: len(named) - 1]  # those with the first variant
    return EvalReport(
        title=plan.title,
        n_places=len(plan.cases),
        is_whole=all(len(by_case) == len(plan.cases) for by_case in scored),
        settings=tuple(summarise(name, list(items.values())) for name, items in named if items),
        pairs=tuple(
            compare(first_name, first, second_name, second)
            for (first_name, first), (second_name, second) in pairs
            if first and second
        ),
    )


def _completed_cases(plan: EvalPlan) -> list[CompletedCases]:
    """Returns the cases that have a stored result, for each variant."""
    results = results_file.read(plan.folder / RESULTS, EvalResult)
    stored = {(result.key, result.place): result for result in results}
    completed = [
        [(case, stored.get((variant.key, case.digest))) for case in plan.cases]
        for variant in plan.variants
    ]
    return [[(case, result) for case, result in cases if result] for cases in completed]


def _scored_results(completed: CompletedCases, verdicts: Mapping[str, bool]) -> ScoredByPlace:
    scored = {}
    for case, result in completed:
        passed = verdicts.get(_digest(sandbox.program(case, result.text)))
        scored[case.digest] = score_result(case, result, passed)
    return scored


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode(errors="replace")).hexdigest()
