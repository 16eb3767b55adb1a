"""A llama-server, asked at a place with the bodies that its clients send, and the text that they
insert. Wire forms: llama.vim `autoload/llama.vim`, llama.vscode `src/llama-server.ts`.

Of the clients' rules these are here: no request while typing with more than 8 characters right of
the cursor; an empty prompt on a blank line; trailing empty lines are dropped; on a blank line the
first line loses as many blanks as stand there already; blanks alone can't be accepted. Their rules
that hide a suggestion which repeats the text below are not.
"""

from __future__ import annotations

import asyncio
import http.client
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.pipeline import EvalCompletion
from llmd.cli.eval.settings_grid import EmulatedClient
from llmd.completion.trace import trace_of
from llmd.document import content, split_lines
from llmd.engine.messages import Cost
from llmd.errors import BadInput, DaemonError

N_PREFIX_LINES, N_SUFFIX_LINES = 256, 64
MAX_LINE_SUFFIX = 8
TIMEOUT_S = 600

_FIELDS = (
    "content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms",
    "timings/prompt_per_second", "timings/predicted_n", "timings/predicted_ms",
    "timings/predicted_per_token_ms", "timings/predicted_per_second", "truncated",
    "tokens_cached",
)  # fmt: skip
_COMMON = {"id_slot": 0, "n_predict": 128, "top_k": 40, "stream": False, "cache_prompt": True}
_SAMPLERS = ["top_k", "top_p", "infill"]


def request_body(client: EmulatedClient, place: EvalCase) -> dict[str, Any]:
    """What `client` sends. `vim-greedy` is llama.vim's without its time limit, the likeliest token
    always: not what it sends, but the same words on every run and machine."""
    asked = {**_COMMON, **_texts(place), "samplers": _SAMPLERS}
    indent = _indent(place)
    if client == "vscode":
        more: dict[str, Any] = {
            "n_cmpl": 3, "top_p": 0.99, "t_max_prompt_ms": 500, "t_max_predict_ms": 500,
            "model": "google/gemini-2.5-flash",
        }  # fmt: skip
        return asked | more | ({"n_indent": indent} if indent else {})
    vim = asked | {
        "stop": [], "n_cmpl": 1, "n_indent": indent, "top_p": 0.9, "t_max_prompt_ms": 500,
        "t_max_predict_ms": 250, "response_fields": list(_FIELDS),
    }  # fmt: skip
    if client == "vim-greedy":
        vim |= {"top_k": 1, "seed": 0}
        del vim["t_max_predict_ms"]
    return vim


def _texts(place: EvalCase) -> dict[str, Any]:
    above = [content(line) for line in split_lines(place.before)[:-1]][-N_PREFIX_LINES:]
    below = [content(line) for line in split_lines(place.after)[1:]][:N_SUFFIX_LINES]
    is_blank = _is_blank(place)
    tail = "" if is_blank else place.tail
    return {
        "input_prefix": "".join(f"{line}\n" for line in above),
        "input_suffix": "".join(f"{line}\n" for line in (tail, *below)),
        "input_extra": [],
        "prompt": "" if is_blank else place.head,
    }


def _is_blank(place: EvalCase) -> bool:
    return not (place.head + place.tail).strip()


def _indent(place: EvalCase) -> int:
    return 0 if _is_blank(place) else len(place.head) - len(place.head.lstrip())


def inserted_text(place: EvalCase, text: str) -> str:
    """The text that a client would insert at the cursor."""
    text = text.rstrip("\n")
    if not text.strip():
        return ""
    if _is_blank(place):
        first = text.split("\n", 1)[0]
        n_blank = len(first) - len(first.lstrip())
        text = text[min(n_blank, len(place.head)) :]
    return text


def address(url: str) -> tuple[str, int, str]:
    """Host, port, and what stands before `/infill` in a path.

    Raises:
        BadInput: `url` is no URL of HTTP.
    """
    found = urlsplit(url)
    if found.scheme != "http" or not found.hostname:
        raise BadInput(f"URL `{url}` is not http://HOST:PORT, as llama-server has it")
    return found.hostname, found.port or 80, found.path.rstrip("/").removesuffix("/infill")


class LlamaServer:
    def __init__(self, url: str, client: EmulatedClient) -> None:
        """
        Raises:
            BadInput: `url` is no URL of HTTP.
        """
        self._url = url
        self._host, self._port, root = address(url)
        self._path = root + "/infill"
        self._client = client

    async def complete(self, place: EvalCase) -> EvalCompletion:
        if not place.is_invoked and len(place.tail.rstrip()) > MAX_LINE_SUFFIX:
            return EvalCompletion("", trace_of(Cost(), "suppressed", 0.0, "line_suffix"))
        start_s = time.monotonic()
        found = await asyncio.to_thread(self._post, request_body(self._client, place))
        total_ms = 1e3 * (time.monotonic() - start_s)
        n_decoded = int(timing(found, "predicted_n"))
        cost = Cost(n_prefill=int(timing(found, "prompt_n")), n_decoded=n_decoded)
        text = inserted_text(place, str(found.get("content", "")))
        return EvalCompletion(text, trace_of(cost, "cold", total_ms))

    def _post(self, asked: dict[str, Any]) -> dict[str, Any]:
        """
        Raises:
            DaemonError: no answer, or a refusal.
        """
        peer = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        kind = {"Content-Type": "application/json"}
        try:
            peer.request("POST", self._path, msgspec.json.encode(asked), kind)
            reply = peer.getresponse()
            data = reply.read()
            found = msgspec.json.decode(data)
        except (OSError, http.client.HTTPException) as error:
            raise DaemonError(f"No llama-server answers at `{self._url}`: {error}") from None
        except msgspec.MsgspecError:
            raise DaemonError(f"What answers at `{self._url}` is no llama-server") from None
        finally:
            peer.close()
        if reply.status != http.client.OK:
            said = found.get("error", {}) if isinstance(found, dict) else {}
            raise DaemonError(
                f"llama-server refuses what llama.{self._client} sends ({reply.status}):"
                f" {said.get('message', 'no reason')}; vscode's needs `-np 3`"
            )
        first = found[0] if isinstance(found, list) and found else found
        return first if isinstance(first, dict) else {}


def timing(found: dict[str, Any], name: str) -> float:
    """Under its own name, or nested, as the client asked for it; 0 where there is none."""
    nested = found.get("timings")
    value = nested.get(name) if isinstance(nested, dict) else found.get(f"timings/{name}")
    return value if isinstance(value, int | float) else 0
