"""The options of `llmd bench`. Imports nothing that takes time: the command line does."""

from __future__ import annotations

import argparse

MODEL = "model"
ORDERS = ("auto", "psm", "spm", "spm2")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "llmd bench [-h] (TRACE ... | model) [options]"
    parser.add_argument("what", metavar="TRACE", nargs="+",
                        help="editing traces, in turn; or `model`: its speed")  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="in place of the config's")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[],
                        help="a setting, over the config's")  # fmt: skip
    parser.add_argument("--out", metavar="FOLDER", default="llmd-bench", help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="the tables as one object")
    _add_replay(parser.add_argument_group("with a trace"))
    _add_model(parser.add_argument_group("with `model`"))


def _add_replay(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--from", dest="first", metavar="N", type=_count, default=0,
                       help="what came before edit N is there already")  # fmt: skip
    group.add_argument("--limit", metavar="N", type=_count, help="so many edits")
    group.add_argument("--pace", metavar="MS", type=_count, default=0,
                       help="from key to key; 0: when answered (%(default)s)")  # fmt: skip
    group.add_argument("--alternate", metavar="N", type=_count, default=1,
                       help="so many files of each trace, in turn")  # fmt: skip
    group.add_argument("--autopairs", action="store_true", help="openers bring their closers")
    group.add_argument("--cursor", action="store_true",
                       help="rest 300 ms before the first key after a jump")  # fmt: skip
    group.add_argument("--warm-up", action="store_true", help="ask once first, uncounted")
    group.add_argument("--order", choices=ORDERS, help="sets fim.order")
    group.add_argument("--against", metavar="URL", help="also a llama-server")
    group.add_argument("--wait", action="store_true",
                       help="its requests are waited for, not closed by the next key")  # fmt: skip


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--depth", metavar="A,B", type=_counts, default=(0, 1024),
                       help="cells there already (0,1024)")  # fmt: skip
    group.add_argument("--batch", metavar="A,B", type=_counts, default=(1, 4, 16, 64, 256),
                       help="tokens at once (1,4,16,64,256)")  # fmt: skip
    group.add_argument("--threads", metavar="A,B", type=_counts, help="(1, and up to all)")
    group.add_argument("--repeat", metavar="N", type=_count, default=3, help="(%(default)s)")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number, 0 or more")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_count(part.strip()) for part in text.split(",")))
