"""The options of `llmd eval`, and what is evaluated by them. Imports nothing that takes time: the
command line does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

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
    what = parser.add_argument_group("places")
    what.add_argument("--set", metavar="SET", default="single-line",
                      help="single-line, random-span, multi-line or a JSONL file")  # fmt: skip
    what.add_argument("--trace", metavar="FILE", help="the pauses of an editing trace instead")
    what.add_argument("--limit", metavar="N", type=_count, help="so many places, spread over all")
    what.add_argument("--cut", choices=CUTS, default="none",
                      help="each first line begun, up to a random place in it")  # fmt: skip
    what.add_argument("--given", metavar="N", type=_count, default=0,
                      help="the first characters typed already")  # fmt: skip
    what.add_argument("--given-lines", metavar="N", type=_count, default=0,
                      help="the first lines typed already")  # fmt: skip
    _add_settings(parser.add_argument_group("settings, each with several values by comma"))
    parser.add_argument("--pass", dest="runs_tests", action="store_true",
                        help="run the tests of each answer, in a child process")  # fmt: skip
    parser.add_argument("--out", metavar="FOLDER", default="llmd-eval",
                        help="where results are kept and found again (%(default)s)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the tables as one object")


def _add_settings(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", metavar="NAME", help="in place of the config's")
    for option, key in AXES.items():
        group.add_argument(f"--{option}", metavar="A,B", type=_values, help=f"sets {key}")
    group.add_argument("--vary", metavar="KEY=A,B", action="append", default=[], type=_vary,
                       help="any config key")  # fmt: skip
    group.add_argument("--anchor", metavar="A,B", type=_values,
                       help="where typed text begins: line, or start (of the given)")  # fmt: skip
    group.add_argument("--without", metavar="A,B", type=_values,
                       help="beside all rules, each of these left out; A+B: both")  # fmt: skip
    group.add_argument("--ablate", action="store_true", help="each rule left out in turn")
    group.add_argument("--kv", metavar="A,B", type=_kv, default="exact",
                       help="how the KV cache is used again: exact")  # fmt: skip
    group.add_argument("--bare", action="store_true", help="also the model without our rules")
    group.add_argument("--against", metavar="URL", help="also a llama-server")
    group.add_argument("--client", metavar="A,B", type=_values, default=("vim", "vscode"),
                       help=f"of its clients: {', '.join(CLIENTS)}")  # fmt: skip


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number, 0 or more")
    return int(text)


def _values(text: str) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(values):
        raise argparse.ArgumentTypeError(f"`{text}` has an empty value; write A,B")
    return values


def _kv(text: str) -> str:
    if text != "exact":
        raise argparse.ArgumentTypeError(f"`{text}` is not built yet; `exact` is all there is")
    return text


def _vary(text: str) -> tuple[str, tuple[str, ...]]:
    key, equals, values = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"`{text}` is not KEY=A,B")
    return key, _values(values)


def first_unknown(values: Sequence[str], known: Sequence[str]) -> str:
    """The first that is none of the known; empty where all are."""
    return next((value for value in values if value not in known), "")
