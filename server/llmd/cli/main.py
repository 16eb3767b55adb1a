"""Parses the command line: commands, options, help. Imports a command's module only to run it, so
that `lsp` starts at once. Exit code 2 for invalid input, 1 for a failure."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from llmd import __version__
from llmd.cli.bench import options as bench_options
from llmd.cli.eval.options import add_options
from llmd.errors import LlmdError, printable

# The module that has the command's function, where it is not `local_commands`.
_MODULES = {
    **dict.fromkeys(
        ("start", "stop", "restart", "status", "why", "complete", "config"), "daemon_commands"
    ),
    **dict.fromkeys(("pull", "models", "use"), "model_commands"),
    "bench": "bench.command",
    "doctor": "doctor.command",
}


def main(argv: list[str] | None = None) -> int:
    _open_closed_streams()
    with suppress(OSError):
        _leave_removed_folder()
    args = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = int(args.run(args) or 0)
        sys.stdout.flush()
    except LlmdError as error:
        print(f"llmd: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `llmd logs | head`
        _discard_output()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            raise
        _discard_output()
        print(f"llmd: The output cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return code


def _open_closed_streams() -> None:
    """Opens what a caller closed (`2>&-`): a socket in the place of standard error would get what
    is printed, and a file would be a child's."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _leave_removed_folder() -> None:
    """Goes to / where the current folder is gone: no relative path can name anything there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        os.chdir("/")


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


class _Commands(argparse.HelpFormatter):
    """Omits the line that only reads COMMAND, so that the commands fit on a screen."""

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        return text.split("\n", 1)[1] if action.nargs == argparse.PARSER else text


def _parser() -> argparse.ArgumentParser:
    usage = "llmd [-h] [--version] COMMAND ..."
    parser = _Parser("llmd", usage, formatter_class=_Commands, add_help=False)
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    version = f"llmd {__version__}"  # the usage line names both: the help has to fit on a screen
    parser.add_argument("--version", action="version", version=version, help=argparse.SUPPRESS)
    title = "Completes code at the cursor in every editor, with one warm model"
    commands = parser.add_subparsers(title=title, required=True, metavar="COMMAND", prog="llmd")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=lambda args: _run(name, args))
        return sub

    serve = command("serve", "run the daemon in the foreground")
    serve.add_argument("--set", metavar="KEY=VALUE", action="append", default=[],
                       help="override a setting of the config file")  # fmt: skip
    serve.add_argument("--detached", action="store_true", help=argparse.SUPPRESS)
    command("start", "start the daemon if it is not running")
    command("stop", "stop the daemon")
    restart = command("restart", "reload the model while editors stay connected")
    restart.add_argument("--daemon", action="store_true", help="restart the whole daemon")
    status = command("status", "show the state and the counters of the daemon")
    status.add_argument("--json", action="store_true", help="print all of it, see docs/PROTOCOL.md")
    status.add_argument(
        "--plan", action="store_true", help="explain how the model is laid out in memory"
    )
    why = command("why", "explain the latest request of a file")
    why.add_argument("file", nargs="?", default="", help="default: the latest of all files")
    why.add_argument("--json", action="store_true", help="print JSON, see docs/PROTOCOL.md")
    logs = command("logs", "print the daemon's log")
    logs.add_argument("-f", "--follow", action="store_true", help="keep printing new lines")
    complete = command("complete", "complete at a position in a file")
    complete.add_argument("place", metavar="FILE:LINE:COL", help="counted from 1, in characters")
    complete.add_argument("--json", action="store_true", help="print text and trace")
    add_options(command("eval", "measure completions at positions whose text is known"))
    bench_options.add_options(command("bench", "measure a replayed editing trace, or the model"))
    pull = command("pull", "download a model")
    pull.add_argument("model", nargs="?", help="NAME[:QUANTISATION] as in `models`, hf:OWNER/REPO/"
                      "FILE, or a GGUF file; default: the best for this machine")  # fmt: skip
    pull.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    models = command("models", "list, check and remove models")
    models.add_argument("words", nargs="*", metavar="[rm|verify] NAME",
                        help="show one model; remove models, or check their files")  # fmt: skip
    models.add_argument("--json", action="store_true", help="print JSON, see docs/PROTOCOL.md")
    use = command("use", "set the model and load it")
    use.add_argument("model", help="a GGUF file, or a name that `pull` accepts")
    config = command("config", "show the settings in effect and the source of each")
    config.add_argument("--json", action="store_true", help="print JSON, see docs/PROTOCOL.md")
    config.add_argument(
        "--write", action="store_true", help="with from-flags: write to the config file"
    )
    config.add_argument("action", nargs="?", choices=["from-flags"],
                        help="translate options of llama-cli or llama-server")  # fmt: skip
    config.add_argument(
        "line", nargs="*", metavar="-- LINE", help="llama.cpp's command line, after `--`"
    )
    path = command("path", "print the path of a file or folder of llmd")
    places = ["socket", "models", "config", "log", "state", "plugin-nvim", "plugin-vim"]
    path.add_argument("what", choices=places)
    doctor = command("doctor", "check the whole installation and suggest fixes")
    doctor.add_argument("--json", action="store_true", help="print JSON, see docs/PROTOCOL.md")
    purge = command("purge", "list and remove all files of llmd on this machine")
    purge.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    command("lsp", "serve an editor on standard input and output")
    command("demo", "show a completion with a temporary daemon")
    return parser


def _run(command: str, args: argparse.Namespace) -> Any:
    module = import_module(f"llmd.cli.{_MODULES.get(command, 'local_commands')}")
    return getattr(module, command)(args)
