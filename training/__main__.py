"""Trains the built-in model's infill adapter: `python -m training --out FOLDER`.

Continues where an interrupted run stopped. Needs the extra `llmd[train]`. Takes an hour on two
cores that multiply bf16, about three hours on others.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn import functional

from llmd.models.pull.build_builtin import FIM_TOKEN_IDS, fetch_base
from llmd.worker.llama import Model as Gguf
from training import holes, leak
from training.layout import MAX_TOKENS, Tokenize, Tokens, sample_tokens
from training.model import SMOLLM2_135M, Model, is_bf16_faster
from training.sources import SOURCES, File, files

EVALUATION = sorted((Path(__file__).parents[1] / "tests/data").glob("HumanEval*.jsonl.gz"))
FIRST_ADAPTER = Path(__file__).with_name("smollm2-135m-fim-lora-first.gguf")
N_STEP_TOKENS = 2048
N_MICRO_TOKENS = 2100  # tokens evaluated at once: more do not fit the cores' caches
PEAK_RATE, N_WARM_UP, END_RATE = 1e-3, 20, 0.02
HELD_OUT = 0.02  # of the files
SAVE_EVERY = 25
N_HELD_OUT_SAMPLES = 60


def main() -> None:
    args = parser().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    training_files, held_out = corpus(args.cache)
    base = args.base or fetch_base(args.out, lambda stage, _: print(stage, file=sys.stderr))
    model = Model(SMOLLM2_135M)
    model.read_base(base)
    if is_bf16_faster():
        model.to_bf16()
    if args.start.is_file():
        model.read_adapter(args.start)
    tokenize = Gguf(base, vocab_only=True).vocabulary.tokenize
    train(model, training_files, held_out, tokenize, args)
    model.write_adapter(args.out / "adapter.gguf", _metadata())


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the checkpoint and the adapter")
    add("--cache", type=Path, default=Path(".training-cache"), help="folder for the sources")
    add("--base", type=Path, help="GGUF of the base model; downloaded if not given")
    add("--start", type=Path, default=FIRST_ADAPTER, help="adapter to start from")
    add("--steps", type=int, default=700)
    add("--seed", type=int, default=20)
    add("--threads", type=int, default=os.cpu_count() or 1)
    return parser


def corpus(cache: Path) -> tuple[list[File], list[File]]:
    """Returns the files to train on and the files held out, without files that share text with an
    evaluation set."""
    guard = leak.guard(EVALUATION)
    all_files = list(files(cache))
    clean = [file for file in all_files if not guard.overlap(file.text)]
    n_left_out = len(all_files) - len(clean)
    print(
        f"{len(all_files)} files, {n_left_out} left out: they overlap an evaluation set",
        file=sys.stderr,
    )
    n_held_out = max(round(len(clean) * HELD_OUT), 1)
    step = len(clean) // n_held_out
    return [f for n, f in enumerate(clean) if n % step], clean[::step]


def train(
    model: Model,
    training_files: list[File],
    held_out: list[File],
    tokenize: Tokenize,
    args: argparse.Namespace,
) -> None:
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    checkpoint = args.out / "checkpoint.pt"
    step, number = resume(checkpoint, model, optimizer)
    validation = [
        sample_tokens(holes.sample(held_out, 0, n), tokenize) for n in range(N_HELD_OUT_SAMPLES)
    ]
    validation = [tokens for tokens in validation if len(tokens) <= MAX_TOKENS]
    print(f"step {step}: held out {accuracy(model, validation)}", flush=True)
    while step < args.steps:
        started_s = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = rate(step, args.steps)
        batch, number = next_batch(training_files, args.seed, number, tokenize)
        loss = one_step(model, optimizer, batch)
        step += 1
        n_tokens, took_s = sum(map(len, batch)), time.monotonic() - started_s
        print(f"step {step}/{args.steps} loss {loss:.4f} {n_tokens / took_s:.0f} tokens/s"
              f" {(args.steps - step) * took_s / 60:.0f} min left", flush=True)  # fmt: skip
        if step % SAVE_EVERY == 0 or step == args.steps:
            save(checkpoint, model, optimizer, step, number)
    print(f"step {step}: held out {accuracy(model, validation)}", flush=True)


def rate(step: int, n_steps: int) -> float:
    """Returns the learning rate: it rises, then follows a cosine to END_RATE of the peak."""
    if step < N_WARM_UP:
        return PEAK_RATE * (step + 1) / N_WARM_UP
    share = (step - N_WARM_UP) / max(n_steps - N_WARM_UP, 1)
    return PEAK_RATE * (END_RATE + (1 - END_RATE) * (1 + math.cos(math.pi * share)) / 2)


def next_batch(
    training_files: list[File], seed: int, number: int, tokenize: Tokenize
) -> tuple[list[Tokens], int]:
    """Returns samples with N_STEP_TOKENS tokens in all, and the number of the next sample."""
    batch: list[Tokens] = []
    while sum(map(len, batch)) < N_STEP_TOKENS:
        tokens = sample_tokens(holes.sample(training_files, seed, number), tokenize)
        number += 1
        if len(tokens) <= MAX_TOKENS:
            batch.append(tokens)
    return batch, number


def one_step(model: Model, optimizer: torch.optim.Optimizer, batch: list[Tokens]) -> float:
    """Trains on a batch and returns the mean loss of a token of the middles."""
    n_targets = sum(tokens.n_targets for tokens in batch)
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in micro_batches(batch):
        logits, targets = predict(model, part)
        loss = functional.cross_entropy(logits, targets, reduction="sum") / n_targets
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return total


def micro_batches(batch: list[Tokens]) -> Iterator[list[Tokens]]:
    part: list[Tokens] = []
    for tokens in batch:
        if part and sum(map(len, part)) + len(tokens) > N_MICRO_TOKENS:
            yield part
            part = []
        part.append(tokens)
    yield part


def predict(model: Model, part: list[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns logits (tokens, vocabulary) and targets (tokens,) at the tokens of the middles."""
    ids = torch.tensor([id_ for tokens in part for id_ in tokens.ids])
    targets, end = [], 0
    for tokens in part:
        end += len(tokens)
        targets.append(torch.arange(end - tokens.n_targets, end))
    positions = torch.cat(targets)
    return model(ids, [len(tokens) for tokens in part], positions - 1), ids[positions]


@torch.no_grad()
def accuracy(model: Model, validation: list[Tokens]) -> str:
    hits = [0, 0]
    for part in micro_batches(validation):
        logits, targets = predict(model, part)
        hits[0] += int((logits.argmax(-1) == targets).sum())
        hits[1] += len(targets)
    return f"{100 * hits[0] / hits[1]:.1f} % of {hits[1]} tokens"


def save(
    path: Path, model: Model, optimizer: torch.optim.Optimizer, step: int, number: int
) -> None:
    state = {"step": step, "number": number, "optimizer": optimizer.state_dict()}
    state["parameters"] = dict(model.named_parameters())
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def resume(path: Path, model: Model, optimizer: torch.optim.Optimizer) -> tuple[int, int]:
    """Loads a checkpoint, if there is one. Returns the steps done and the next sample's number."""
    if not path.exists():
        return 0, 0
    state = torch.load(path)
    model.load_state_dict(state["parameters"], strict=False)
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["number"]


def _metadata() -> dict[str, str | int]:
    ids = {f"tokenizer.ggml.fim_{role}_token_id": id_ for role, id_ in FIM_TOKEN_IDS.items()}
    return {
        "general.name": "SmolLM2-135M-Instruct FIM LoRA",
        "general.license": "apache-2.0",
        "general.base_model.0.name": "SmolLM2-135M-Instruct",
        "general.description": "trained on " + ", ".join(source.repo for source in SOURCES),
        **ids,
    }


if __name__ == "__main__":
    main()
