"""Defines the options of `llmd eval`, and option types that `llmd bench` shares. Imports nothing
that takes time: the command line does."""

from __future__ import annotations

import argparse

AXES = {  # option to config key
    "order": "fim.order",
    "typed": "fim.typed",
    "heal": "fim.heal",
    "cache-type-k": "engine.cache_type_k",
    "cache-type-v": "engine.cache_type_v",
}
ANCHORS = ("line", "start")
CUTS = ("none", "word", "border")
CLIENTS = ("vim", "vscode", "vim-greedy")


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("places to complete")
    group.add_argument("--set", metavar="SET", default="single-line",
                       help="single-line, random-span, multi-line or a JSONL file")  # fmt: skip
    group.add_argument("--trace", metavar="FILE", help="use the pauses of an editing trace instead")
    group.add_argument("--limit", metavar="N", type=count, help="N places, spread over the set")
    group.add_argument("--cut", choices=CUTS, default="none",
                       help="begin each first line, up to a random position in it")  # fmt: skip
    group.add_argument("--given", metavar="N", type=count, default=0,
                       help="the first N characters are typed already")  # fmt: skip
    group.add_argument("--given-lines", metavar="N", type=count, default=0,
                       help="the first N lines are typed already")  # fmt: skip
    _add_settings(parser.add_argument_group("settings, with several values separated by commas"))
    parser.add_argument("--pass", dest="runs_tests", action="store_true",
                        help="run the tests of each completion, in a child process")  # fmt: skip
    parser.add_argument("--out", metavar="FOLDER", default="llmd-eval",
                        help="folder that keeps the results (%(default)s)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the tables as one JSON object")


def _add_settings(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", metavar="NAME", help="use this model, not the configured one")
    for option, key in AXES.items():
        group.add_argument(f"--{option}", metavar="A,B", type=values, help=f"sets {key}")
    group.add_argument("--vary", metavar="KEY=A,B", action="append", default=[], type=_vary,
                       help="sets any config key")  # fmt: skip
    group.add_argument("--anchor", metavar="A,B", type=values,
                       help="where typed text begins: line, or start (of the given)")  # fmt: skip
    group.add_argument("--without", metavar="A,B", type=values,
                       help="all rules, then without each of these; A+B: without both")  # fmt: skip
    group.add_argument("--ablate", action="store_true", help="leave out each rule in turn")
    group.add_argument("--bare", action="store_true", help="also the model without llmd's rules")
    group.add_argument("--against", metavar="URL", help="also a llama-server")
    group.add_argument("--client", metavar="A,B", type=values, default=("vim", "vscode"),
                       help=f"its clients to imitate: {', '.join(CLIENTS)}")  # fmt: skip


def count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is invalid; expected a whole number, 0 or more")
    return int(text)


def values(text: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(parts):
        raise argparse.ArgumentTypeError(f"`{text}` has an empty value; expected A,B")
    return parts


def _vary(text: str) -> tuple[str, tuple[str, ...]]:
    key, equals, parts = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"`{text}` is invalid; expected KEY=A,B")
    return key, values(parts)
