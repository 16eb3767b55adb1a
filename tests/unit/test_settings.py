"""Configuration, places, traces, frames: small contracts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd import config, paths
from llmd.engine import frames
from llmd.errors import BadInput, DaemonError
from llmd.trace import Cost, Totals, of_cost


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sampling]\ntemprature = 1", "unknown field `temprature` - at `$.sampling`"),
        ('[completion]\nmax_tokens = "many"', "Expected `int`, got `str` - at `$.completion.max_"),
        ("[completion]\nmax_tokens = 0", "Expected `int` >= 1 - at `$.completion.max_tokens`"),
        ("[fim", "config.toml"),
    ],
)
def test_a_bad_config_is_named(text: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        config.parse(text, "config.toml")
    assert said in str(error.value)


def test_no_file_is_the_defaults_and_the_environment_names_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMD_MODEL", "x.gguf")
    loaded = config.load(tmp_path / "none.toml")
    assert (loaded.model, loaded.completion.max_tokens, loaded.sampling.seed) == (
        "x.gguf",
        64,
        3407,
    )


def test_the_runtime_folder_is_the_first_that_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/x")
    monkeypatch.delenv("LLMD_RUNTIME_DIR", raising=False)
    assert paths.runtime_dir() == Path("/run/x/llmd")
    monkeypatch.setenv("LLMD_RUNTIME_DIR", "/mine")
    assert paths.runtime_dir() == Path("/mine")


def test_a_socket_path_that_is_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMD_RUNTIME_DIR", "/" + "x" * 100)
    with pytest.raises(BadInput, match="has 113 bytes; a unix socket takes at most 103"):
        paths.socket_path()


def test_a_private_folder_is_ours_alone(tmp_path: Path) -> None:
    assert paths.private_dir(tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(DaemonError, match="has mode 0755, expected 0700; run `chmod 700"):
        paths.private_dir(tmp_path / "open")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with pytest.raises(DaemonError, match="is not a folder of its own"):
        paths.private_dir(tmp_path / "link")


def test_paths_of_traces_sum_to_requests() -> None:
    totals = Totals()
    for path, reason in (("cold", ""), ("warm", ""), ("suppressed", "secret"), ("superseded", "")):
        totals.add(of_cost(Cost(n_prompt=3, n_prefill=3), path, 1.0, reason))  # type: ignore[arg-type]
    counts = totals.counts()
    assert counts["requests"] == 4
    assert counts["by_path"] == {"cold": 1, "warm": 1, "suppressed": 1, "superseded": 1}
    assert counts["n_prompt"] == 12
    assert totals.suppressed() == {"secret": 1}


@given(st.integers(1, 40))
def test_frames_survive_any_chunking(n_bytes: int) -> None:
    sent = [frames.Partial(1, "ü😋"), frames.Done(1, "x", "eog", Cost(n_prompt=2))]
    stream = b"".join(map(frames.encode, sent))
    splitter = frames.Splitter()
    chunks = (stream[i : i + n_bytes] for i in range(0, len(stream), n_bytes))
    got = [frames.decode_from_worker(body) for chunk in chunks for body in splitter.feed(chunk)]
    assert got == sent


def test_a_frame_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        list(frames.Splitter().feed(b"\xff\xff\xff\xff"))
