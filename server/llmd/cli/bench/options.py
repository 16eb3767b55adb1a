"""Defines the options of `llmd bench`. Imports nothing that takes time: the command line does."""

from __future__ import annotations

import argparse

from llmd.cli.eval.options import count, values

MODEL = "model"
ORDERS = ("auto", "psm", "spm", "spm2")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "llmd bench [-h] (TRACE ... | model) [options]"
    parser.add_argument("what", metavar="TRACE", nargs="+",
                        help="editing traces to replay; or `model`: measure its speed")  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="use this model, not the configured one")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[],
                        help="override a setting of the config file")  # fmt: skip
    parser.add_argument("--out", metavar="FOLDER", default="llmd-bench",
                        help="folder for the results (%(default)s)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the tables as one JSON object")
    _add_replay(parser.add_argument_group("with a trace"))
    _add_model(parser.add_argument_group("with `model`"))


def _add_replay(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--from", dest="first", metavar="N", type=count, default=0,
                       help="start after the first N edits (%(default)s)")  # fmt: skip
    group.add_argument("--limit", metavar="N", type=count, help="replay at most N edits")
    group.add_argument("--pace", metavar="MS", type=count, default=0,
                       help="time between keys; 0: wait for each answer (%(default)s)")  # fmt: skip
    group.add_argument("--alternate", metavar="N", type=count, default=1,
                       help="open N files of each trace and edit them in turn")  # fmt: skip
    group.add_argument("--autopairs", action="store_true",
                       help="insert closing brackets and quotes, as editors do")  # fmt: skip
    group.add_argument("--cursor", action="store_true",
                       help="rest 300 ms before the first key after a jump")  # fmt: skip
    group.add_argument("--warm-up", action="store_true", help="begin with one request, not counted")
    group.add_argument("--order", choices=ORDERS, help="sets fim.order")
    group.add_argument("--against", metavar="URL", help="measure a llama-server too")
    group.add_argument("--wait", action="store_true",
                       help="let the llama-server finish each request")  # fmt: skip


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--depth", metavar="A,B", type=_counts, default=(0, 1024),
                       help="numbers of tokens in the KV cache (0,1024)")  # fmt: skip
    group.add_argument("--batch", metavar="A,B", type=_counts, default=(1, 4, 16, 64, 256),
                       help="numbers of tokens evaluated at once (1,4,16,64,256)")  # fmt: skip
    group.add_argument("--threads", metavar="A,B", type=_counts,
                       help="numbers of threads (1, and the configured number)")  # fmt: skip
    group.add_argument("--repeat", metavar="N", type=count, default=3,
                       help="measure each N times, keep the best (%(default)s)")  # fmt: skip


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(count, values(text)))
