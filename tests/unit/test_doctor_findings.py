"""What `llmd doctor` makes of described facts: model, memory, daemon, files."""

from __future__ import annotations

import shlex
import stat
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmd import processes
from llmd.cli.doctor.build import BuildFacts, HardwareFacts, judge_build
from llmd.cli.doctor.config_and_model import ModelFacts, judge_config, judge_model
from llmd.cli.doctor.daemon import DaemonFacts, PathFacts, judge_daemon, judge_paths
from llmd.cli.doctor.editors import CommandFacts, judge_command
from llmd.cli.doctor.finding import Finding, count_problems, findings_text
from llmd.cli.doctor.memory import MemoryFacts, PlanFacts, judge_memory
from llmd.cli.doctor.subprocess_json import run_module
from llmd.machine import MemoryReading, gpu_makers
from llmd.transport.status_types import ClientStatus, ConfigStatus, Status

GIB = 1 << 30
CALM = MemoryReading(8 * GIB, 16 * GIB)
STATUS = Status(version="1.0", pid=7, state="ready")


def not_ok(findings: Iterable[Finding]) -> list[Finding]:
    return [each for each in findings if each.level != "ok"]


def levels(findings: Iterable[Finding]) -> list[str]:
    return [each.level for each in findings]


def test_findings_are_printed_by_topic_with_what_to_do() -> None:
    found = [
        Finding("model", "ok", "Good\x1b[1m"),
        Finding("model", "problem", "Bad", "mend it"),
        Finding("memory", "note", "So so", "add some"),
    ]
    assert findings_text(found) == (
        "model\n  ok       Good\\x1b[1m\n  problem  Bad\n           Do: mend it\n"
        "memory\n  note     So so\n           Do: add some\n\n1 problem, 1 note."
    )
    assert count_problems(found) == 1


def test_a_model_that_is_missing_has_its_own_sentence_as_fix() -> None:
    missing = ModelFacts("x", "file", problem="Model `x` is not on this machine; run `llmd pull x`")
    (found,) = judge_model(missing)
    assert (found.level, found.text) == ("problem", "Model `x` is not on this machine")
    assert found.fix == "run `llmd pull x`"


@pytest.mark.parametrize(
    ("family", "fault", "source", "expected"),
    [
        ("qwen-coder", "", "file", ["ok", "ok"]),
        ("plain", "", "file", ["ok", "note"]),
        ("", "ended by SIGABRT: x", "file", ["ok", "problem"]),
        ("", "", "file", ["ok"]),
        ("qwen-coder", "", "environment", ["note", "ok", "ok"]),
    ],
)
def test_what_llama_cpp_found_in_a_model(
    family: str, fault: str, source: str, expected: list[str]
) -> None:
    model = ModelFacts("m", source, "/m.gguf", 10**9, "qwen2", "", family, fault)
    assert levels(judge_model(model)) == expected


def test_a_bad_config_is_a_problem() -> None:
    assert judge_config("/c", True, "Config `/c`, line 1: no").level == "problem"
    assert judge_config("/c", True, "").text == "Config `/c` is valid"
    assert "does not exist" in judge_config("/c", False, "").text


def test_a_model_that_does_not_fit_is_told_in_the_plans_words() -> None:
    plan = PlanFacts(problem="Model file `m` needs more; choose a smaller one")
    (found,) = not_ok(judge_memory(MemoryFacts(CALM), plan))
    assert (found.level, found.fix) == ("problem", "choose a smaller one")


def test_a_loaded_model_is_told_by_what_it_takes() -> None:
    plan = PlanFacts(("Memory: x.", "Layers: 20 of 33 on the GPU."), "", True, 5 * 10**9, 6 * 10**9)
    findings = list(judge_memory(MemoryFacts(CALM), plan))
    assert findings[0].text == "The model is loaded: 5.0 GB in memory, 6.0 GB planned"
    assert findings[1].text == "Layers: 20 of 33 on the GPU."
    assert not_ok(findings) == []


def test_weights_that_are_read_again_from_disk_are_a_note() -> None:
    plan = PlanFacts(("Memory: x.", "Disk: 3.0 GB have no room and are read again."))
    (found,) = not_ok(judge_memory(MemoryFacts(CALM), plan))
    assert (found.level, found.text[:6]) == ("note", "3.0 GB")


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (MemoryReading(GIB // 2, 16 * GIB), "no work in the background"),
        (MemoryReading(GIB // 8, 16 * GIB), "unloads the model"),
        (MemoryReading(8 * GIB, 16 * GIB, stalled_share=0.3), "unloads the model"),
        (MemoryReading(8 * GIB, 16 * GIB, level=2), "no work in the background"),
    ],
)
def test_memory_that_is_short_says_what_llmd_does(reading: MemoryReading, said: str) -> None:
    (found,) = not_ok(judge_memory(MemoryFacts(reading), PlanFacts()))
    assert said in found.text


def test_swap_matters_where_the_engine_is_in_it() -> None:
    others = MemoryFacts(CALM, 8 * GIB, 6 * GIB)
    assert not_ok(judge_memory(others, PlanFacts())) == []
    (found,) = not_ok(judge_memory(replace(others, worker_swapped_bytes=GIB), PlanFacts()))
    assert "1.1 GB of the engine's memory are in swap" in found.text


def test_the_wired_limit_is_explained() -> None:
    mac = MemoryFacts(MemoryReading(32 * GIB, 64 * GIB, level=1), wired_limit_bytes=0)
    assert "macOS's default" in list(judge_memory(mac, PlanFacts()))[-1].text
    more = PlanFacts(
        ("Memory: x.", "More: with `sudo sysctl iogpu.wired_limit_mb=61440` it would be 9")
    )
    (found,) = not_ok(judge_memory(mac, more))
    assert found.fix == "with `sudo sysctl iogpu.wired_limit_mb=61440` it would be 9"
    (found,) = not_ok(judge_memory(replace(mac, wired_limit_bytes=63 * GIB), PlanFacts()))
    assert (found.level, found.fix) == ("problem", "`sudo sysctl iogpu.wired_limit_mb=61440`")
    fine = list(judge_memory(replace(mac, wired_limit_bytes=60 * GIB), PlanFacts()))
    assert not_ok(fine) == []


def test_mlock_beyond_what_may_be_locked_is_a_problem() -> None:
    small = MemoryFacts(CALM, lock_bytes=8 << 20, wants_lock=True, model_bytes=GIB)
    (found,) = not_ok(judge_memory(small, PlanFacts()))
    assert "memlock" in found.fix
    assert not_ok(judge_memory(replace(small, lock_bytes=sys.maxsize), PlanFacts())) == []
    assert not_ok(judge_memory(replace(small, wants_lock=False), PlanFacts())) == []


def test_no_daemon_is_no_fault() -> None:
    assert levels(judge_daemon(DaemonFacts("1.0", "/r/s"))) == ["ok"]


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({}, "ok", "pid 7, is ready"),
        ({"state": "unloaded"}, "ok", "the next completion loads the model"),
        ({"state": "failed", "reason": "no file"}, "problem", "failed: no file"),
        ({"version": "0.9"}, "problem", "The daemon is llmd 0.9, this command is 1.0"),
        ({"config": ConfigStatus("/c", "line 3: no key")}, "problem", "line 3"),
        ({"clients": (ClientStatus("x", "Vim 9"),)}, "ok", "Connected: Vim 9"),
    ],
)
def test_what_the_daemon_says(change: dict[str, Any], level: str, said: str) -> None:
    daemon = DaemonFacts("1.0", "/r/s", True, "/r/s", "", msgspec.structs.replace(STATUS, **change))
    assert [each.level for each in judge_daemon(daemon) if said in each.text] == [level]


def test_a_daemon_without_its_socket_or_without_an_answer_is_a_problem() -> None:
    gone, silent = (
        DaemonFacts("1", "/r/s", True, "/q/s"),
        DaemonFacts("1", "/r/s", problem="silent"),
    )
    assert [each.text for each in judge_daemon(gone)] == [
        "A daemon runs, but its socket `/q/s` does not exist"
    ]
    assert levels(judge_daemon(silent)) == ["problem"]


def test_a_socket_that_only_the_lock_names_is_a_note() -> None:
    daemon = DaemonFacts("1.0", "/r/s", True, "/q/s", "", STATUS)
    assert not_ok(judge_daemon(daemon))[0].level == "note"


FOLDER, FILE, LINK = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK


@pytest.mark.parametrize(
    ("place", "fix"),
    [
        (PathFacts("f", "/f"), ""),
        (PathFacts("f", "/f", FOLDER | 0o700), ""),
        (PathFacts("f", "/f", FOLDER | 0o755), "`chmod 700 /f`"),
        (PathFacts("f", "/f", LINK | 0o777), "remove the link"),
        (PathFacts("f", "/f", FILE | 0o600), "remove it"),
        (
            PathFacts("f", "/f", FOLDER | 0o700, is_ours=False),
            'as its owner: `chown "$USER" /f`',
        ),
        (PathFacts("f", "/f", FOLDER | 0o500, is_writable=False), "as its owner"),
        (PathFacts("f", "/f", FILE | 0o644, is_folder=False), "`chmod 600 /f`"),
        (PathFacts("f", "/f", FOLDER | 0o755, is_private=False), ""),
        (PathFacts("f", "/f", LINK | 0o777, is_private=False), ""),
    ],
)
def test_a_place_is_judged_by_what_is_wrong_with_it(place: PathFacts, fix: str) -> None:
    found = not_ok(judge_paths([place]))
    level = "note" if fix.startswith("`chmod 700") else "problem"  # the daemon sets it by itself
    assert [each.level for each in found] == ([level] if fix else [])
    assert all(each.fix.startswith(fix) for each in found)


BLANK = "/Users/Jörg M/Library/Application Support/llmd"


@pytest.mark.parametrize(
    "findings",
    [
        judge_paths([PathFacts("f", BLANK, FOLDER | 0o755)]),
        judge_paths([PathFacts("f", BLANK, FILE | 0o644, is_folder=False)]),
        judge_paths([PathFacts("f", BLANK, FOLDER | 0o700, is_ours=False)]),
        [judge_command(CommandFacts("", is_ours=False, own=BLANK))],
        judge_build(BuildFacts("1", "2", BLANK), HardwareFacts()),
    ],
)
def test_a_path_with_a_blank_is_one_word_of_the_command(findings: Iterable[Finding]) -> None:
    command = not_ok(findings)[0].fix.split("`")[1]
    assert BLANK in shlex.split(command)


def test_files_that_do_not_exist_yet_are_not_called_correct() -> None:
    (missing,) = judge_paths([PathFacts("log", "/l"), PathFacts("lock", "/k")])
    assert missing.text == "No file of llmd exists yet"
    (some,) = judge_paths([PathFacts("log", "/l", FILE | 0o600, is_folder=False)])
    assert some.text == "Owner and mode are correct: log"


def test_a_child_that_dies_says_what_it_had_and_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os, signal\nprint('{\"a\": 1}', flush=True)\nos.kill(os.getpid(), signal.{})\n"
    (tmp_path / "dies_ill.py").write_text(code.replace("{}", "SIGILL"))
    (tmp_path / "dies_abrt.py").write_text(code.replace("{}", "SIGABRT"))
    (tmp_path / "hangs.py").write_text("import time\nprint('{}', flush=True)\ntime.sleep(60)\n")
    monkeypatch.setattr(processes, "_PACKAGE_FOLDER", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said, fault = run_module("dies_ill", [], 20)
    assert (said, "instructions" in fault) == ([{"a": 1}], True)
    assert run_module("dies_abrt", [], 20)[1] == "ended by SIGABRT: no output"
    assert run_module("hangs", [], 1) == ([{}], "no answer within 1 s")
    assert run_module("no_such_module", [], 20)[1].startswith("ended with 1: ")


def test_gpus_are_found_on_the_pci_bus(tmp_path: Path) -> None:
    for name, kind, vendor in (
        ("00", "0x030000", "0x8086"), ("01", "0x030200", "0x10de"), ("02", "0x020000", "0x1002"),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "class").write_text(f"{kind}\n")
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
    assert gpu_makers(tmp_path) == (frozenset({"NVIDIA"}) if sys.platform == "linux" else set())
