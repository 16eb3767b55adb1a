"""What the command line prints: on one screen, whatever the daemon is at."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import to_builtins
from msgspec.structs import replace

from llmd.cli.status_text import span, status_text, why_text
from llmd.completion.trace import (
    MAX_DOCUMENTS,
    Latency,
    Quantiles,
    RequestHistory,
    RequestStages,
    Trace,
    WindowLines,
)
from llmd.engine.report import SlotReport
from llmd.errors import DaemonError
from llmd.transport.status_types import (
    ClientStatus,
    ConfigStatus,
    ErrorStatus,
    MemoryStatus,
    ModelStatus,
    Status,
    decode_answer,
)


def status(**changes: Any) -> Status:
    """A daemon that loads: nothing of the model is known."""
    quantiles = Quantiles(12.4, 99.6)
    loading = Status(
        version="1",
        state="loading",
        loaded_share=0.5,
        pid=1,
        uptime_s=75,
        model=ModelStatus("/m.gguf"),
        latency=Latency(quantiles, quantiles),
        memory=MemoryStatus(daemon_bytes=1 << 20),
        config=ConfigStatus("/c.toml"),
    )
    return replace(loading, **changes)


def rows(text: str) -> dict[str, str]:
    parts = (line.partition("  ") for line in text.splitlines())
    return {name: told.strip() for name, _, told in parts}


def test_a_loading_daemon_is_told_without_its_model() -> None:
    found = rows(status_text(status()))
    assert found["state"] == "loading, 50 %"
    assert found["worker"] == "none"
    assert found["daemon"] == "llmd 1, pid 1, up 1 min"
    assert "engine" not in found


def test_the_status_of_an_older_or_newer_daemon_is_read() -> None:
    answer = {**to_builtins(status()), "new": 1, "memory": {"daemon_bytes": 1 << 20, "new": 1}}
    del answer["pressure"]
    assert decode_answer(answer, Status) == status()


def test_an_answer_of_another_form_names_the_key_and_the_fix() -> None:
    with pytest.raises(DaemonError, match=r"\$\.pid.*`llmd restart --daemon`"):
        decode_answer({"pid": "seven"}, Status)


def test_everything_at_once_fits_a_screen() -> None:
    clients = (ClientStatus("nvim", "nvim 0.11"), ClientStatus("vim", ""))
    text = status_text(
        status(
            state="failed",
            reason="It ended",
            notice="A notice",
            clients=clients,
            suppressed={"secret": 2, "size": 1},
            slots=(SlotReport(0, 7, 2048),),
            config=ConfigStatus("/c.toml", "Bad"),
            last_error=ErrorStatus("It ended", "2026-01-01T00:00:00+00:00"),
        )
    )
    found = rows(text)
    assert len(text.splitlines()) <= 24
    assert found["state"] == "failed: It ended"
    assert found["clients"] == "nvim 0.11, vim"
    assert found["suppressed"] == "3: 2 secret, 1 size"
    assert found["slots"] == "0: 7 of 2048 cells"
    assert found["config"] == "Bad"
    assert found["last error"] == "2026-01-01T00:00:00+00:00 It ended"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h 0 min"), (183_600, "2 d 3 h")],
)
def test_a_span_is_as_a_person_says_it(seconds: float, text: str) -> None:
    assert span(seconds) == text


def stages(file: str, gate: str = "", path: Any = "warm") -> RequestStages:
    trace = Trace(path=path, reason=gate or "lines", n_cached=20, n_prefill=3, n_prompt=23)
    return with_trace(trace, file, gate)


def with_trace(trace: Trace, file: str = "/a.py", gate: str = "") -> RequestStages:
    return RequestStages(
        file=file,
        line=3,
        col=5,
        invoked=False,
        gate=gate,
        window=WindowLines(1, 9, 40, 20),
        trace=trace,
        stop="lines",
        n_chars_generated=12,
        n_chars_shown=0,
    )


def test_why_tells_every_stage_that_was_reached() -> None:
    journal = RequestHistory()
    journal.add(stages("/a.py"))
    found = journal.last("/a.py")
    assert found
    assert rows(why_text(found) + "\n") == {
        "file": "/a.py:3:5",
        "asked": "while typing",
        "gate": "passed",
        "window": "lines 1 to 9, 40 characters before the cursor, 20 after",
        "plan": "20 tokens cached, 3 evaluated",
        "decode": "0 tokens, stopped by: lines",
        "confidence": "log-probability of the first token 0.00, mean of the first line 0.00",
        "trim": "12 characters, 0 shown",
        "answer": "nothing, warm",
        "times": "queue 0.0, prefill 0.0, first token 0.0, decode 0.0, total 0.0 ms",
    }


def test_why_tells_what_was_healed_and_not_shown_for_want_of_confidence() -> None:
    trace = Trace(
        path="suppressed", reason="confidence", n_healed=2, n_decoded=5, logprob_line=-2.345
    )
    journal = RequestHistory()
    journal.add(with_trace(trace))
    found = journal.last()
    assert found
    told = rows(why_text(found))
    assert told["decode"] == "2 tokens healed, 5 tokens, stopped by: lines"
    assert told["confidence"].endswith("mean of the first line -2.35")
    assert told["answer"] == "nothing, suppressed: confidence"


def test_why_ends_at_the_gate() -> None:
    journal = RequestHistory()
    journal.add(stages("/a.py", "line_suffix", "suppressed"))
    found = journal.last()
    assert found
    assert rows(why_text(found))["gate"] == "refused: line_suffix"
    assert rows(why_text(found))["answer"] == "nothing, suppressed: line_suffix"
    assert "plan" not in rows(why_text(found))


def test_the_journal_keeps_the_latest_request_of_the_latest_files() -> None:
    journal = RequestHistory()
    for number in range(MAX_DOCUMENTS + 1):
        journal.add(stages(f"/{number}.py"))
    assert journal.last("/0.py") is None
    latest = journal.last()
    assert latest
    assert latest.file == f"/{MAX_DOCUMENTS}.py"
    journal.add(stages("/1.py", "secret", "suppressed"))
    again = journal.last("/1.py")
    assert again
    assert again.gate == "secret"
