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
from llmd.cli.eval import journal, pipeline, sandbox
from llmd.cli.eval.journal import Check, Row
from llmd.cli.eval.llama_server import Peer
from llmd.cli.eval.pipeline import Answerer, Reply
from llmd.cli.eval.report import Report
from llmd.cli.eval.samples import Place
from llmd.cli.eval.settings_grid import Setting
from llmd.cli.eval.summary import Answer, answer, compare, summarise
from llmd.config import Config
from llmd.config.load import load_settings
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
class Way:
    """A setting with the whole config that it stands for. `key` tells it from any other, also
    from the same with another model file or another llmd."""

    setting: Setting
    config: Config
    key: str


@dataclass(frozen=True, slots=True)
class Plan:
    title: str
    places: tuple[Place, ...]
    ways: tuple[Way, ...]
    runs_tests: bool
    folder: Path


def way(setting: Setting) -> Way:
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
    return Way(setting, config, hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:16])


def n_steps(plan: Plan) -> int:
    return len(plan.places) * len(plan.ways)


async def ask(plan: Plan, advance: Advance) -> None:
    """`advance` is called with the setting's name for each answer, old or new.

    Raises:
        LlmdError: a setting gives no answers.
    """
    done = {(row.key, row.place) for row in journal.read(plan.folder / RESULTS, Row)}
    writer = journal.Writer(plan.folder / RESULTS)
    try:
        for each in plan.ways:
            todo = [place for place in plan.places if (each.key, place.digest) not in done]
            for _ in range(len(plan.places) - len(todo)):
                advance(each.setting.name)
            if todo:
                await _ask_one(each, todo, writer, advance)
    finally:
        writer.close()


async def _ask_one(
    each: Way, todo: Sequence[Place], writer: journal.Writer, advance: Advance
) -> None:
    async with _opened(each) as answerer:
        for place in todo:
            writer.add(_row(each, place, await answerer.complete(place)))
            advance(each.setting.name)


@asynccontextmanager
async def _opened(each: Way) -> AsyncIterator[Answerer]:
    if each.setting.client:
        yield Peer(each.setting.url, each.setting.client)
        return
    async with pipeline.opened(each.setting, each.config) as answerer:
        yield answerer


def _row(each: Way, place: Place, reply: Reply) -> Row:
    spent = msgspec.structs.asdict(reply.trace)
    kept = {name: spent[name] for name in Row.__struct_fields__ if name in spent}
    return Row(key=each.key, place=place.digest, text=reply.text, **kept)


def check(plan: Plan, advance: Advance) -> None:
    """Runs the tests of every answer that has not been tried; equal programs once."""
    known = {check.program for check in journal.read(plan.folder / CHECKS, Check)}
    sources = {_digest(source): source for source in _programs(plan)}
    writer = journal.Writer(plan.folder / CHECKS)
    try:
        for digest, source in sources.items():
            if digest not in known:
                writer.add(Check(digest, sandbox.passes(source)))
            advance("tests")
    finally:
        writer.close()


def n_checks(plan: Plan) -> int:
    return len(set(_programs(plan)))


def _programs(plan: Plan) -> list[str]:
    rows = _rows(plan)
    return [
        sandbox.program(place, row.text)
        for each in plan.ways
        for place in plan.places
        if place.test and (row := rows.get((each.key, place.digest))) and row.text.strip()
    ]


def report(plan: Plan) -> Report:
    """Of what is there, whether or not all is.

    Raises:
        BadInput: the folder's files are something else.
    """
    rows = _rows(plan)
    checks = {check.program: check.passed for check in journal.read(plan.folder / CHECKS, Check)}
    answers = [_answers(plan, each, rows, checks) for each in plan.ways]
    names = [each.setting.name for each in plan.ways]
    named = list(zip(names, answers, strict=True))
    return Report(
        title=plan.title,
        n_places=len(plan.places),
        is_whole=all(len(found) == len(plan.places) for found in answers),
        settings=tuple(summarise(name, list(found.values())) for name, found in named if found),
        pairs=tuple(
            compare(name, found, other_name, other)
            for (name, found), (other_name, other) in _pairs(named)
            if found and other
        ),
    )


Named = tuple[str, dict[str, Answer]]


def _pairs(named: Sequence[Named]) -> list[tuple[Named, Named]]:
    if len(named) <= ALL_PAIRS:
        return list(combinations(named, 2))
    return [(named[0], other) for other in named[1:]]


def _rows(plan: Plan) -> dict[tuple[str, str], Row]:
    return {(row.key, row.place): row for row in journal.read(plan.folder / RESULTS, Row)}


def _answers(
    plan: Plan, each: Way, rows: Mapping[tuple[str, str], Row], checks: Mapping[str, bool]
) -> dict[str, Answer]:
    found = {}
    for place in plan.places:
        if row := rows.get((each.key, place.digest)):
            tried = checks.get(_digest(sandbox.program(place, row.text)))
            found[place.digest] = answer(place, row, tried)
    return found


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode(errors="replace")).hexdigest()
