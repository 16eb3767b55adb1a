"""Frames of any chunking come out whole; a fault ends the stream with a sentence."""

from __future__ import annotations

import pytest

from llmd.transport.framing import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    FrameSplitter,
    FramingError,
    build_message,
    frame,
)

BODIES = [b"{}", b"", "é😀".encode(), b"Content-Length: 3\r\n\r\nabc", b"x" * 70_000]


def _feed(splitter: FrameSplitter, chunks: list[bytes]) -> None:
    for chunk in chunks:
        list(splitter.feed(chunk))


def split(stream: bytes, n_bytes: int) -> list[bytes]:
    splitter = FrameSplitter()
    chunks = (stream[i : i + n_bytes] for i in range(0, len(stream), n_bytes))
    return [body for chunk in chunks for body in splitter.feed(chunk)]


@pytest.mark.parametrize("n_bytes", [1, 2, 7, 4096, 1 << 20])
def test_bodies_survive_any_chunking(n_bytes: int) -> None:
    stream = b"".join(map(frame, BODIES))
    assert split(stream, n_bytes) == BODIES


def test_a_message_names_its_protocol_and_escapes_what_is_no_text() -> None:
    body = build_message(id="a", result={"text": "é\ud800"})
    assert body == b'{"jsonrpc": "2.0", "id": "a", "result": {"text": "\\u00e9\\ud800"}}'


def test_other_headers_and_case_are_ignored() -> None:
    head = b"content-length:  2 \r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n"
    assert list(FrameSplitter().feed(head + b"{}")) == [b"{}"]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"Content-Type: x\r\n\r\n", "0 Content-Length"),
        (b"\r\n\r\n", "no colon"),
        (b"Content-Length: -1\r\n\r\n", "not a number"),
        (b"Content-Length: ten\r\n\r\n", "not a number"),
        (b"Content-Length: \r\n\r\n", "not a number"),
        (b"Content-Length: 1e3\r\n\r\n", "not a number"),
        (b"Content-Length: +1\r\n\r\n", "not a number"),
        (b"Content-Length: %d\r\n\r\n" % (1 << 62), "not a number"),
        (b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n", "2 Content-Length"),
        (b"Content-Length: 2\n\n{}", "bare newline"),
        (b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), "limit"),
        (b"GET / HTTP/1.1\r\n\r\n", "no colon"),
        (b"X: " + b"x" * MAX_HEADER_BYTES, "longer"),
    ],
)
@pytest.mark.parametrize("n_bytes", [1, 1 << 20])
def test_malformed_header(head: bytes, words: str, n_bytes: int) -> None:
    with pytest.raises(FramingError, match=words):
        split(head, n_bytes)


def test_good_frames_before_a_fault_are_given() -> None:
    bodies = FrameSplitter().feed(frame(b"[]") + b"no colon\r\n\r\n")
    assert next(bodies) == b"[]"
    with pytest.raises(FramingError):
        next(bodies)
