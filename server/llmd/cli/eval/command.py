"""Runs `llmd eval`: from options to a plan, and from its results to tables and charts."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from llmd.cli.eval import case_files, report, run, settings_grid, trace_pauses
from llmd.cli.eval.cases import EvalCase, evenly_spaced
from llmd.cli.eval.options import ANCHORS, AXES, CLIENTS
from llmd.cli.eval.settings_grid import EvalSetting, SettingAxis
from llmd.cli.progress import steps
from llmd.cli.report_files import write_report
from llmd.errors import BadInput
from llmd.postprocess.stop import RULES

_SWITCH = {"on": "true", "off": "false"}


def evaluate(args: argparse.Namespace) -> None:
    """Runs the plan and writes the report. Each result stays in the folder, also after an
    interruption.

    Raises:
        LlmdError: an option, a file, a model or an engine is at fault.
    """
    plan = eval_plan(args)
    try:
        with steps(len(plan.cases) * len(plan.variants)) as advance:
            asyncio.run(run.run_requests(plan, advance))
        if plan.has_tests:
            with steps(run.n_programs(plan)) as advance:
                run.run_tests(plan, advance)
    except KeyboardInterrupt:
        print(f"llmd: The results so far are in `{plan.folder}`; the same command continues there",
              file=sys.stderr)  # fmt: skip
        raise
    eval_report = run.build_report(plan)
    text, charts = report.as_text(eval_report), report.as_charts(eval_report)
    write_report(args, "report", text, eval_report, charts)


def eval_plan(args: argparse.Namespace) -> run.EvalPlan:
    """
    Raises:
        BadInput: an option has an unknown value, or contradicts another option.
        ModelError: a model's file is missing.
    """
    title, cases = _select_cases(args)
    if not cases:
        raise BadInput(
            f"Set {title} has no place left to evaluate; choose a larger set, or a smaller --given"
        )
    variants = tuple(run.eval_variant(setting) for setting in _settings(args))
    return run.EvalPlan(title, tuple(cases), variants, args.runs_tests, Path(args.out))


def _select_cases(args: argparse.Namespace) -> tuple[str, list[EvalCase]]:
    if args.trace:
        if args.cut != "none" or args.given or args.given_lines or args.runs_tests:
            raise BadInput("Option --trace does not go with --cut, --given or --pass; drop these")
        path = Path(args.trace)
        return f"pauses of {path.name}", trace_pauses.pause_cases(path, args.limit)
    cases = case_files.with_given_lines(case_files.read_set(args.set), args.given_lines)
    cases = case_files.cut_cases(case_files.with_given_chars(cases, args.given), args.cut)
    parts = [Path(args.set).name]
    parts += [f"{args.given_lines} lines given"] if args.given_lines else []
    parts += [f"{args.given} characters given"] if args.given else []
    parts += [f"cut: {args.cut}"] if args.cut != "none" else []
    return ", ".join(parts), evenly_spaced(cases, args.limit)


def _settings(args: argparse.Namespace) -> list[EvalSetting]:
    grid = settings_grid.settings(_axes(args), args.model or "", args.bare)
    if not args.against:
        return grid
    _check_names("Client", args.client, CLIENTS)
    return [*grid, *settings_grid.llama_server_settings(args.against, args.client)]


def _axes(args: argparse.Namespace) -> list[SettingAxis]:
    axes = [
        SettingAxis(key, option, tuple(_SWITCH.get(value, value) for value in values))
        for option, key in AXES.items()
        if (values := getattr(args, option.replace("-", "_")))
    ]
    axes += [SettingAxis(key, key, values) for key, values in args.vary]
    if args.anchor:
        _check_names("Anchor", args.anchor, ANCHORS)
        axes.append(SettingAxis("anchor", "anchor", args.anchor))
    left_out = (*(args.without or ()), *(RULES if args.ablate else ()))
    _check_names("Rule", [name for names in left_out for name in names.split("+")], RULES)
    if left_out:
        axes.append(SettingAxis("without", "without", ("", *dict.fromkeys(left_out))))
    return axes


def _check_names(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise BadInput(f"{kind} `{unknown}` is unknown; expected one of {', '.join(known)}")
