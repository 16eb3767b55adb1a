"""Completes a case with a llama-server: sends the requests of the server's editor plugins and
returns the text that they insert. Wire forms: llama.vim `autoload/llama.vim`, llama.vscode
`src/llama-server.ts`.

Implements these rules of the plugins: no request while typing with more than 8 characters right of
the cursor; an empty prompt on a blank line; trailing empty lines are dropped; on a blank line the
first line loses as many blanks as the line already has; blanks alone cannot be accepted. The rules
that hide a suggestion which repeats the text below are not implemented.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.pipeline import EvalCompletion
from llmd.cli.eval.settings_grid import EmulatedClient
from llmd.completion.trace import trace_of
from llmd.document import split_lines, strip_line_end
from llmd.engine.http_client import HttpClient, UnexpectedReplyError
from llmd.engine.messages import Cost
from llmd.errors import BadInput, DaemonError

N_PREFIX_LINES, N_SUFFIX_LINES = 256, 64
MAX_LINE_SUFFIX = 8

_FIELDS = (
    "content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms",
    "timings/prompt_per_second", "timings/predicted_n", "timings/predicted_ms",
    "timings/predicted_per_token_ms", "timings/predicted_per_second", "truncated",
    "tokens_cached",
)  # fmt: skip
_COMMON = {"id_slot": 0, "n_predict": 128, "top_k": 40, "stream": False, "cache_prompt": True}
_SAMPLERS = ["top_k", "top_p", "infill"]


def request_body(client: EmulatedClient, case: EvalCase) -> dict[str, Any]:
    """Returns the body that `client` sends. `vim-greedy` is llama.vim's body without its time limit
    and always with the likeliest token, so that each run and machine has the same text."""
    body = {**_COMMON, **_texts(case), "samplers": _SAMPLERS}
    indent = _indent(case)
    if client == "vscode":
        more: dict[str, Any] = {
            "n_cmpl": 3, "top_p": 0.99, "t_max_prompt_ms": 500, "t_max_predict_ms": 500,
            "model": "google/gemini-2.5-flash",
        }  # fmt: skip
        return body | more | ({"n_indent": indent} if indent else {})
    vim = body | {
        "stop": [], "n_cmpl": 1, "n_indent": indent, "top_p": 0.9, "t_max_prompt_ms": 500,
        "t_max_predict_ms": 250, "response_fields": list(_FIELDS),
    }  # fmt: skip
    if client == "vim-greedy":
        vim |= {"top_k": 1, "seed": 0}
        del vim["t_max_predict_ms"]
    return vim


def _texts(case: EvalCase) -> dict[str, Any]:
    above = [strip_line_end(line) for line in split_lines(case.before)[:-1]][-N_PREFIX_LINES:]
    below = [strip_line_end(line) for line in split_lines(case.after)[1:]][:N_SUFFIX_LINES]
    is_blank = _is_blank(case)
    tail = "" if is_blank else case.tail
    return {
        "input_prefix": "".join(f"{line}\n" for line in above),
        "input_suffix": "".join(f"{line}\n" for line in (tail, *below)),
        "input_extra": [],
        "prompt": "" if is_blank else case.head,
    }


def _is_blank(case: EvalCase) -> bool:
    return not (case.head + case.tail).strip()


def _indent(case: EvalCase) -> int:
    return 0 if _is_blank(case) else len(case.head) - len(case.head.lstrip())


def inserted_text(case: EvalCase, text: str) -> str:
    """Returns the text that a plugin would insert at the cursor."""
    text = text.rstrip("\n")
    if not text.strip():
        return ""
    if _is_blank(case):
        first = text.split("\n", 1)[0]
        n_blank = len(first) - len(first.lstrip())
        text = text[min(n_blank, len(case.head)) :]
    return text


def server_url(url: str) -> str:
    """Returns `url` without a trailing `/infill`.

    Raises:
        BadInput: `url` is not http://HOST:PORT.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
        is_valid = parts.scheme == "http" and bool(parts.hostname)
    except ValueError:  # the port is not a number
        is_valid = False
    if not is_valid:
        raise BadInput(f"URL `{url}` is invalid; expected http://HOST:PORT, as of a llama-server")
    return url.rstrip("/").removesuffix("/infill")


class LlamaServer:
    """Completes as the editor plugin `client` does, with a llama-server behind `http`."""

    def __init__(self, http: HttpClient, client: EmulatedClient) -> None:
        self._http, self._client = http, client

    async def complete(self, case: EvalCase) -> EvalCompletion:
        """
        Raises:
            DaemonError: the server does not answer, or refuses the request.
        """
        if not case.is_invoked and len(case.tail.rstrip()) > MAX_LINE_SUFFIX:
            return EvalCompletion("", trace_of(Cost(), "suppressed", 0.0, "line_suffix"))
        start_s = time.monotonic()
        try:
            reply = await self._http.post_json("/infill", request_body(self._client, case))
        except UnexpectedReplyError as error:
            hint = "; llama.vscode's requests need `-np 3`" if self._client == "vscode" else ""
            raise DaemonError(f"{error}{hint}") from None
        total_ms = 1e3 * (time.monotonic() - start_s)
        first = reply[0] if isinstance(reply, list) and reply else reply
        fields = first if isinstance(first, dict) else {}
        n_decoded = int(timing(fields, "predicted_n"))
        cost = Cost(n_prefill=int(timing(fields, "prompt_n")), n_decoded=n_decoded)
        text = inserted_text(case, str(fields.get("content", "")))
        return EvalCompletion(text, trace_of(cost, "cold", total_ms))


def timing(reply: dict[str, Any], name: str) -> float:
    """Returns a figure by its flat name (`timings/NAME`) or nested; 0 if there is none."""
    nested = reply.get("timings")
    value = nested.get(name) if isinstance(nested, dict) else reply.get(f"timings/{name}")
    return value if isinstance(value, int | float) else 0
