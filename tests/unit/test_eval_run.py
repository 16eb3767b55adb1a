"""The grid of settings, the results file, and a whole run against a llama-server that is a stub."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from llmd.cli.eval import llama_server as peer
from llmd.cli.eval import options, results_file, run
from llmd.cli.eval.cases import EvalCase
from llmd.cli.eval.command import eval_plan
from llmd.cli.eval.pipeline import EvalCompletion
from llmd.cli.eval.results_file import EvalResult
from llmd.cli.eval.settings_grid import EvalSetting, SettingAxis, llama_server_settings, settings
from llmd.engine.http_client import HttpClient
from llmd.errors import BadInput, DaemonError

ORDER = SettingAxis("fim.order", "order", ("psm", "spm"))
HEAL = SettingAxis("fim.heal", "heal", ("true", "false"))
PLACES = tuple(EvalCase(f"T/{n}", f"x{n} = ", "\n", "abc") for n in range(3))


@contextmanager
def llama_server(reply: Any, status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """Its URL, and the bodies that it was sent."""
    bodies: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            n_bytes = int(self.headers["Content-Length"])
            bodies.append((self.path, json.loads(self.rfile.read(n_bytes))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def plan(folder: Path, url: str, *clients: Any) -> run.EvalPlan:
    ways = tuple(
        run.eval_variant(setting) for setting in llama_server_settings(url, clients or ("vim",))
    )
    return run.EvalPlan("holes", PLACES, ways, False, folder)


@pytest.fixture(autouse=True)
def _own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMD_CONFIG", str(tmp_path / "config.toml"))


def test_settings_are_every_combination() -> None:
    found = settings([ORDER, HEAL], model="m")
    assert [setting.name for setting in found] == [
        "order=psm heal=true", "order=psm heal=false",
        "order=spm heal=true", "order=spm heal=false",
    ]  # fmt: skip
    assert found[1].flags == ("model=m", "fim.order=psm", "fim.heal=false")


def test_nothing_that_varies_is_one_setting() -> None:
    assert settings([]) == [EvalSetting("llmd")]
    assert settings([SettingAxis("fim.order", "order", ("spm",))])[0].name == "llmd"


def test_rules_left_out_stand_beside_all_of_them() -> None:
    found = settings([SettingAxis("without", "without", ("", "tail", "tail+seam"))])
    assert [setting.name for setting in found] == ["llmd", "without=tail", "without=tail+seam"]
    assert [setting.without for setting in found] == [
        frozenset(), frozenset({"tail"}), frozenset({"tail", "seam"}),
    ]  # fmt: skip


def test_the_bare_model_is_asked_once_for_what_it_sees() -> None:
    found = settings([ORDER, HEAL], with_bare=True)
    bare = [setting for setting in found if setting.is_bare]
    assert [setting.name for setting in bare] == ["bare order=psm", "bare order=spm"]
    assert all("fim.heal" not in flag for setting in bare for flag in setting.flags)


async def test_a_run_asks_once_and_goes_on_where_it_was(tmp_path: Path) -> None:
    with llama_server({"content": "abc", "timings/predicted_n": 2}) as (url, bodies):
        names: list[str] = []
        first = run.EvalPlan("holes", PLACES[:2], plan(tmp_path, url).variants, False, tmp_path)
        await run.run_requests(first, names.append)
        await run.run_requests(plan(tmp_path, url), names.append)
        await run.run_requests(plan(tmp_path, url), names.append)
    assert [body["prompt"] for _, body in bodies] == ["x0 = ", "x1 = ", "x2 = "]
    assert names == ["llama-server, vim"] * (2 + 3 + 3)
    found = run.build_report(plan(tmp_path, url))
    assert found.is_whole
    assert found.settings[0].metrics["first_line"].value == 1.0
    assert found.settings[0].metrics["tokens_per_kept"].value == 6 / 9


async def test_what_was_found_before_a_failure_is_kept(tmp_path: Path) -> None:
    with llama_server({"content": "abc"}) as (url, _):
        await run.run_requests(
            run.EvalPlan("holes", PLACES[:1], plan(tmp_path, url).variants, False, tmp_path),
            lambda _: None,
        )
    with pytest.raises(DaemonError, match="No llama-server answers"):
        await run.run_requests(plan(tmp_path, url), lambda _: None)
    found = run.build_report(plan(tmp_path, url))
    assert (found.settings[0].n, found.is_whole) == (1, False)


async def test_equal_programs_are_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(run.sandbox, "runs_to_end", lambda source: tried.append(source) is None)
    places = tuple(EvalCase(f"T/{n}", "x = ", "\n", str(n), test="check") for n in range(3))
    with llama_server({"content": "abc"}) as (url, _):
        asked = run.EvalPlan("holes", places, plan(tmp_path, url).variants, True, tmp_path)
        await run.run_requests(asked, lambda _: None)
        for _ in range(2):
            run.run_tests(asked, lambda _: None)
    assert len(tried) == run.n_programs(asked) == 1
    assert run.build_report(asked).settings[0].metrics["passed"].value == 1.0


def test_a_key_tells_settings_apart_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMD_MODELS_DIR", str(tmp_path))
    model = tmp_path / "m.gguf"
    model.write_bytes(b"one")
    flags = (f"model={model}",)
    made = [
        EvalSetting("a", flags), EvalSetting("a", (*flags, "fim.heal=false")),
        EvalSetting("a", flags, is_bare=True),
        EvalSetting("a", flags, without=frozenset({"tail"})),
        EvalSetting("a", flags, anchor="start"),
    ]  # fmt: skip
    keys = [run.eval_variant(setting).key for setting in made]
    assert len(set(keys)) == 5
    assert [run.eval_variant(setting).key for setting in made] == keys
    model.write_bytes(b"other")
    assert run.eval_variant(made[0]).key != keys[0]


def test_the_engine_is_greedy_unless_told(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"")
    assert (
        run.eval_variant(EvalSetting("a", (f"model={model}",))).config.sampling.profile == "greedy"
    )
    told = run.eval_variant(EvalSetting("a", (f"model={model}", "sampling.profile=low")))
    assert told.config.sampling.profile == "low"


def test_half_a_line_is_left_out_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    writer = results_file.ResultsWriter(path)
    writer.add(EvalResult("k", "p", "é\n"))
    writer.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key":"k2","pl')
    assert [row.text for row in results_file.read(path, EvalResult)] == ["é\n"]
    writer = results_file.ResultsWriter(path)
    writer.add(EvalResult("k", "q", "x"))
    writer.close()
    assert [row.place for row in results_file.read(path, EvalResult)] == ["p", "q"]


def test_another_file_is_not_results(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("hello\n")
    with pytest.raises(BadInput, match="are not those"):
        results_file.read(path, EvalResult)


CODE = EvalCase("T", "def f(a):\n    b = g(", ")\n    return b\n\nmore\n", "a")
BLANK = EvalCase("T", "def f():\n    ", "\n    return b\n", "    b = 1")


def test_what_llama_vim_sends() -> None:
    found = peer.request_body("vim", CODE)
    assert found["input_prefix"] == "def f(a):\n"
    assert found["prompt"] == "    b = g("
    assert found["input_suffix"] == ")\n    return b\n\nmore\n\n"
    assert (found["n_indent"], found["top_p"], found["t_max_predict_ms"]) == (4, 0.9, 250)
    assert "temperature" not in found
    assert peer.request_body("vim", BLANK) | {"prompt": "", "n_indent": 0} == peer.request_body(
        "vim", BLANK
    )


def test_what_llama_vscode_sends() -> None:
    found = peer.request_body("vscode", CODE)
    assert (found["n_cmpl"], found["top_p"], found["n_indent"]) == (3, 0.99, 4)
    assert "n_indent" not in peer.request_body("vscode", BLANK)


def test_only_so_many_lines_are_sent() -> None:
    lines = "".join(f"{n}\n" for n in range(1000))
    found = peer.request_body("vim", EvalCase("T", lines, lines, ""))
    assert (found["input_prefix"][:4], found["input_prefix"].count("\n")) == ("744\n", 256)
    assert found["input_suffix"].count("\n") == 65


@pytest.mark.parametrize(
    ("place", "text", "inserted"),
    [
        (CODE, "a\n\n", "a"),
        (CODE, "  \n", ""),
        (BLANK, "    b = 1\n", "b = 1"),
        (BLANK, "      b = 1", "  b = 1"),
        (BLANK, "  b = 1\n    c", "b = 1\n    c"),
        (CODE, "  a", "  a"),
    ],
)
def test_what_a_client_inserts(place: EvalCase, text: str, inserted: str) -> None:
    assert peer.inserted_text(place, text) == inserted


async def complete(url: str, client: Any, case: EvalCase) -> EvalCompletion:
    async with HttpClient(peer.server_url(url)) as http:
        return await peer.LlamaServer(http, client).complete(case)


async def test_the_first_of_several_answers_and_nested_timings() -> None:
    reply = [{"content": "a", "timings": {"predicted_n": 3, "prompt_n": 7}}, {"content": "b"}]
    with llama_server(reply) as (url, bodies):
        found = await complete(url + "/infill", "vscode", CODE)
    assert (found.text, found.trace.n_decoded, found.trace.n_prefill) == ("a", 3, 7)
    assert bodies[0][0] == "/infill"


async def test_nothing_is_asked_while_typing_inside_a_line() -> None:
    place = EvalCase("T", "f(", "a long rest of the line)\n", "", is_invoked=False)
    with llama_server({"content": "a"}) as (url, bodies):
        found = await complete(url, "vim", place)
    assert (found.text, found.trace.path, bodies) == ("", "suppressed", [])


async def test_a_refusal_is_told() -> None:
    with (
        llama_server({"error": {"message": "n_cmpl > n_parallel"}}, 400) as (url, _),
        pytest.raises(DaemonError, match=r"n_cmpl > n_parallel.*-np 3"),
    ):
        await complete(url, "vscode", CODE)


@pytest.mark.parametrize("url", ["localhost:8012", "https://x", "http://"])
def test_only_http_is_spoken(url: str) -> None:
    with pytest.raises(BadInput, match="HOST:PORT"):
        peer.server_url(url)


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_options(parser)
    return parser.parse_args(argv)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LLMD_MODEL", raising=False)
    path = tmp_path / "m.gguf"
    path.write_bytes(b"")
    return path


def test_options_make_a_plan(model: Path, tmp_path: Path) -> None:
    args = parsed(
        "--limit", "5", "--model", str(model), "--heal", "on,off", "--cache-type-k", "f16,q4_0",
        "--cut", "word", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    found = eval_plan(args)
    assert (len(found.cases), found.title) == (5, "single-line, cut: word")
    assert [way.setting.name for way in found.variants] == [
        f"heal={heal} cache-type-k={kind}" for heal in ("true", "false") for kind in ("f16", "q4_0")
    ]
    assert [way.config.fim.heal for way in found.variants] == [True, True, False, False]
    assert found.variants[1].config.engine.cache_type_k == "q4_0"


def test_an_ablation_leaves_out_each_rule_once(model: Path) -> None:
    from llmd.postprocess.stop import RULES

    found = eval_plan(
        parsed("--limit", "1", "--model", str(model), "--ablate", "--without", RULES[0])
    )
    assert [way.setting.without for way in found.variants] == [
        frozenset(), *(frozenset({rule}) for rule in RULES),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--without", "nosuch"), "Rule `nosuch`"),
        (("--anchor", "middle"), "Anchor `middle`"),
        (("--heal", "maybe"), "fim.heal"),
        (("--vary", "fim.nosuch=1"), "is not a known key"),
        (("--against", "http://x:1", "--client", "emacs"), "Client `emacs`"),
        (("--given", "9999"), "no place left"),
        (("--trace", "t.json", "--pass"), "--trace"),
    ],
)
def test_options_that_say_nothing_are_told(model: Path, argv: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        eval_plan(parsed("--limit", "1", "--model", str(model), *argv))


@pytest.mark.parametrize("argv", [("--order", "psm,"), ("--limit", "-1"), ("--vary", "x")])
def test_options_that_are_none_are_told(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed(*argv)
    assert stop.value.code == 2
    assert argv[1].strip(",")[:3] in capsys.readouterr().err
