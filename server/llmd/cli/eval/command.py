"""`llmd eval`: from options to a plan, and from its results to tables and plots."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from llmd.cli.eval import plot, report, run, sets, trace_pauses
from llmd.cli.eval.cases import EvalCase, evenly_spaced
from llmd.cli.eval.options import ANCHORS, AXES, CLIENTS, first_unknown
from llmd.cli.eval.settings_grid import (
    EmulatedClient,
    EvalSetting,
    SettingAxis,
    llama_server_settings,
    settings,
)
from llmd.cli.progress import steps
from llmd.errors import BadInput
from llmd.postprocess.stop import RULES

_SWITCH = {"on": "true", "off": "false"}


def evaluate(args: argparse.Namespace) -> None:
    """Everything that was found stays in the folder, also where it is interrupted.

    Raises:
        LlmdError: an option, a file, a model or an engine is at fault.
    """
    plan = eval_plan(args)
    try:
        with steps(run.n_requests(plan)) as advance:
            asyncio.run(run.run_requests(plan, advance))
        if plan.has_tests:
            with steps(run.n_programs(plan)) as advance:
                run.run_tests(plan, advance)
    except KeyboardInterrupt:
        print(f"llmd: What is done is in `{plan.folder}`; the same command goes on there",
              file=sys.stderr)  # fmt: skip
        raise
    _write_report(plan, args.json)


def _write_report(plan: run.EvalPlan, is_json: bool) -> None:
    found = run.build_report(plan)
    text, told = report.as_text(found), report.as_json(found)
    files = {"report.md": text + "\n", "report.json": told + "\n", "report.svg": plot.svg(found)}
    for name, content in files.items():
        try:
            (plan.folder / name).write_text(content, encoding="utf-8")
        except OSError as error:
            path = plan.folder / name
            raise BadInput(f"Report `{path}` cannot be written: {error.strerror}") from None
    print(told if is_json else text)


def eval_plan(args: argparse.Namespace) -> run.EvalPlan:
    """
    Raises:
        BadInput: an option says something that does not go together or does not exist.
        ModelError: a model's file is not there.
    """
    title, places = _select_cases(args)
    if not places:
        raise BadInput(
            f"Nothing is left to evaluate of {title}; choose a larger set, or less given"
        )
    ways = tuple(run.eval_variant(setting) for setting in _settings(args))
    return run.EvalPlan(title, tuple(places), ways, args.runs_tests, Path(args.out))


def _select_cases(args: argparse.Namespace) -> tuple[str, list[EvalCase]]:
    if args.trace:
        if args.cut != "none" or args.given or args.given_lines or args.runs_tests:
            raise BadInput("Option --trace has no holes for --cut, --given or --pass; drop these")
        return f"pauses of {Path(args.trace).name}", trace_pauses.pause_cases(
            Path(args.trace), args.limit
        )
    places = sets.with_given_lines(sets.read_set(args.set), args.given_lines)
    places = sets.cut_cases(sets.with_given_chars(places, args.given), args.cut)
    said = [Path(args.set).name]
    said += [f"{args.given_lines} lines given"] if args.given_lines else []
    said += [f"{args.given} characters given"] if args.given else []
    said += [f"cut: {args.cut}"] if args.cut != "none" else []
    return ", ".join(said), evenly_spaced(places, args.limit)


def _settings(args: argparse.Namespace) -> list[EvalSetting]:
    found = settings(_axes(args), args.model or "", args.bare)
    if not args.against:
        return found
    if wrong := first_unknown(args.client, CLIENTS):
        raise BadInput(f"Client `{wrong}` is none of {', '.join(CLIENTS)}; name one of these")
    return [
        *found,
        *llama_server_settings(args.against, cast("Sequence[EmulatedClient]", args.client)),
    ]


def _axes(args: argparse.Namespace) -> list[SettingAxis]:
    given = [(option, key, getattr(args, option.replace("-", "_"))) for option, key in AXES.items()]
    axes = [
        SettingAxis(key, option, tuple(_SWITCH.get(value, value) for value in values))
        for option, key, values in given
        if values
    ]
    axes += [SettingAxis(key, key, values) for key, values in args.vary]
    if args.anchor:
        if wrong := first_unknown(args.anchor, ANCHORS):
            raise BadInput(f"Anchor `{wrong}` is none of {', '.join(ANCHORS)}; name one of these")
        axes.append(SettingAxis("anchor", "anchor", args.anchor))
    left_out = (*(args.without or ()), *(RULES if args.ablate else ()))
    if wrong := first_unknown([name for each in left_out for name in each.split("+")], RULES):
        raise BadInput(f"Rule `{wrong}` is none of {', '.join(RULES)}; name one of these")
    if left_out:
        axes.append(SettingAxis("without", "without", ("", *dict.fromkeys(left_out))))
    return axes
