"""The two backends that a benchmark drives: a llama-server's replies, and the daemon's traces."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.http_server import STREAM, answering, chunk, chunks, read_request, serving

from llmd.cli.bench.backend import LspPosition, OpenDocument
from llmd.cli.bench.llama_server import LlamaServerBackend, version_of
from llmd.cli.bench.lsp_client import completion_text, engine_costs
from llmd.completion.trace import RequestStages, Trace
from llmd.errors import BadInput, DaemonError

DOCUMENT = OpenDocument("file:///a.py", "a.py", "def f():\n    return \n", 20)
LAST = b'data: {"content": "1\\n", "timings": {"prompt_n": 7, "predicted_n": 2}}\n\n'


async def test_a_cancelled_request_is_answered_so_and_the_next_one_goes_on() -> None:
    is_asked, is_closed = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if not is_asked.is_set():
            is_asked.set()
            await reader.read()
            is_closed.set()
        else:
            writer.write(STREAM + chunks(LAST))
        writer.close()

    async with serving(handle) as url:
        backend = LlamaServerBackend(url)
        first = backend.request(DOCUMENT)
        await is_asked.wait()
        backend.cancel()
        assert (await first).outcome == "cancelled"
        await is_closed.wait()
        second = await backend.request(DOCUMENT)
        assert (second.outcome, second.text, second.n_prefill, second.n_decoded) == (
            "model", "1", 7, 2,
        )  # fmt: skip
        assert second.ttft_ms
        assert second.total_ms >= second.ttft_ms
        await backend.aclose()


async def test_a_request_cancelled_before_it_is_sent_is_answered_so() -> None:
    backend = LlamaServerBackend("http://127.0.0.1:9")
    first = backend.request(DOCUMENT)
    backend.cancel()
    assert (await first).outcome == "cancelled"
    await backend.aclose()


async def test_a_waiting_backend_sends_nothing_while_a_request_runs() -> None:
    async with serving(answering(STREAM + chunks(LAST))) as url:
        backend = LlamaServerBackend(url, is_waiting=True)
        first, second = backend.request(DOCUMENT), backend.request(DOCUMENT)
        backend.cancel()
        assert ((await first).outcome, (await second).outcome) == ("model", "cancelled")
        await backend.aclose()


async def test_the_first_text_is_timed_on_the_clients_clock() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(STREAM + chunk(b'data: {"a": 0}\n\n'))  # an event without text
        await asyncio.sleep(0.1)
        writer.write(chunk(LAST))
        await asyncio.sleep(0.1)
        writer.write(chunks(b'data: {"stop": true}\n\n'))
        writer.close()

    async with serving(handle) as url:
        backend = LlamaServerBackend(url)
        completion = await backend.request(DOCUMENT)
        assert completion.ttft_ms
        assert completion.ttft_ms >= 100
        assert completion.total_ms >= completion.ttft_ms + 100
        await backend.aclose()


async def test_a_refusal_and_a_silent_peer_are_told() -> None:
    body = b'{"error": {"message": "Loading model"}}'
    reply = b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with serving(answering(reply)) as url:
        backend = LlamaServerBackend(url)
        with pytest.raises(DaemonError, match=r"\(503\): Loading model"):
            await backend.request(DOCUMENT)
        await backend.read_version()
        assert backend.version == ""
        await backend.aclose()
    with pytest.raises(DaemonError, match="No llama-server answers"):
        await LlamaServerBackend(url).read_version()


async def test_a_reply_without_an_event_is_an_error() -> None:
    async with serving(answering(STREAM + chunks())) as url:
        with pytest.raises(DaemonError, match="sent no event"):
            await LlamaServerBackend(url).request(DOCUMENT)


@pytest.mark.parametrize("url", ["localhost:8012", "http://127.0.0.1:port"])
def test_a_url_that_is_none_is_told(url: str) -> None:
    with pytest.raises(BadInput, match="expected http://HOST:PORT"):
        LlamaServerBackend(url)


async def test_llama_vim_does_not_ask_with_much_right_of_the_cursor() -> None:
    document = OpenDocument("file:///a.py", "a.py", "x = (and much more)", 5)
    completion = await LlamaServerBackend("http://127.0.0.1:9").request(document)
    assert completion.outcome == "suppressed"


@pytest.mark.parametrize(
    ("props", "said"),
    [({"build_info": "b1", "model_path": "/a/b.gguf"}, "b1, b.gguf"), ({}, ""), ([], "")],
)
def test_no_folder_of_the_peers_is_told(props: object, said: str) -> None:
    assert version_of(props) == said


@pytest.mark.parametrize(
    ("result", "text"),
    [(None, ""), ([], ""), ({"items": []}, ""), ({"items": [{"insertText": "x"}]}, "x")],
)
def test_the_text_of_an_answer(result: object, text: str) -> None:
    assert completion_text(result) == text


def test_another_requests_trace_is_not_taken() -> None:
    trace = Trace(
        path="warm", n_prefill=3, n_healed=1, n_decoded=9,
        prefill_ms=1.5, queue_ms=0.5, decode_ms=8.0,
    )  # fmt: skip
    why = RequestStages(
        file="/a.py", line=2, col=5, invoked=False, gate="", window=None, trace=trace, stop="eog",
        n_chars_generated=9, n_chars_shown=9,
    )  # fmt: skip
    spent, outcome = engine_costs(why, LspPosition(1, 4), has_text=True)
    assert (spent["n_prefill"], spent["engine_ms"], outcome) == (3, 10.0, "model")
    assert engine_costs(why, LspPosition(1, 5), has_text=True) == ({}, "memory")
    assert engine_costs(None, LspPosition(1, 5), has_text=False) == ({}, "cancelled")
