"""Tests that messages between daemon and worker decode correctly, wherever the bytes are split."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.config import EngineConfig, KvConfig, SamplingConfig
from llmd.engine import messages
from llmd.engine.messages import (
    Cost,
    Done,
    Forget,
    Generate,
    Load,
    Loaded,
    LoadFailed,
    Loading,
    Partial,
    SlotView,
)
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece

TO_WORKER = (
    Load("/m.gguf", "auto", EngineConfig(n_ctx=1024), KvConfig(ram_bytes=0)),
    Generate(
        7,
        (Piece("pre"), Piece("prefix", "é😀\r\n"), Piece("token", "<filename>")),
        StopRule(64, 8, 4, "end", 1500),
        SamplingConfig(profile="greedy"),
    ),
    Generate(
        8,
        (),
        StopRule(0, 8, 4, "", 1500),
        SamplingConfig(),
        slot=3,
        background=True,
        is_prefill=True,
    ),
    Forget(3),
)
FROM_WORKER = (
    Loading(0.5),
    Loaded(
        "m", "plain", "psm", "Q8_0", "cpu", 2048, 30, 0, "q4_0", "f16", False, 64, 2, 1 << 24, "n"
    ),
    LoadFailed("no such file"),
    Partial(7, "a\n"),
    Done(7, "a\n  b", "lines", Cost(n_prompt=3, n_cached=1, n_prefill=2, ttft_ms=1.5)),
    Done(8, "", "failed", Cost(), "the worker died"),
    Done(9, "", "tokens", Cost(), "", (SlotView(3, 700, True), SlotView(1, 40, False, 1 << 20))),
)


def bodies(*chunks: bytes) -> list[bytes]:
    splitter = messages.FrameDecoder()
    return [body for chunk in chunks for body in splitter.feed(chunk)]


def test_a_frame_comes_out_as_it_went_in() -> None:
    sent = b"".join(map(messages.encode, TO_WORKER))
    assert tuple(map(messages.decode_to_worker, bodies(sent))) == TO_WORKER
    sent = b"".join(map(messages.encode, FROM_WORKER))
    assert tuple(map(messages.decode_from_worker, bodies(sent))) == FROM_WORKER


@given(st.data())
def test_frames_may_be_split_at_any_byte(data: st.DataObject) -> None:
    sent = b"".join(map(messages.encode, FROM_WORKER))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    chunks = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert tuple(map(messages.decode_from_worker, bodies(*chunks))) == FROM_WORKER


def test_frames_may_come_byte_by_byte() -> None:
    sent = messages.encode(FROM_WORKER[4])
    received = bodies(*(bytes([byte]) for byte in sent))
    assert [messages.decode_from_worker(body) for body in received] == [FROM_WORKER[4]]


def test_a_frame_that_has_not_ended_is_waited_for() -> None:
    assert bodies(messages.encode(FROM_WORKER[0])[:-1]) == []


def test_a_length_over_the_limit_is_refused_before_its_bytes_come() -> None:
    header = struct.pack("<I", messages.MAX_FRAME_BYTES + 1)
    with pytest.raises(ValueError, match=r"^frame of 67108865 bytes, at most 67108864 expected$"):
        bodies(header)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"\x81\xa4type\xa4Nope"])
def test_an_invalid_message_body_is_rejected(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        messages.decode_from_worker(body)
