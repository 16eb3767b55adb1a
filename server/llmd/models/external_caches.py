"""Finds models that other programs keep on this machine, so that llmd can use the files in place:
those of Ollama, of llama.cpp's cache and of the hub's client. Changes nothing.

Sources: ollama, envconfig/config.go and manifest/; llama.cpp, common/common.cpp and
common/hf-cache.cpp.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmd.files import read_regular
from llmd.models.hub_reference import HUB_PREFIX, HubFile, part_names
from llmd.models.pull import hub_client

OLLAMA_PREFIX, LLAMA_CPP_PREFIX = "ollama:", "llama.cpp:"
_SYSTEM_OLLAMA = Path("/usr/share/ollama/.ollama/models")  # of the system service on Linux
_MANIFEST_MAX_BYTES = 1 << 20
_MODEL_LAYER = "application/vnd.ollama.image.model"
_ADAPTER_LAYER = "application/vnd.ollama.image.adapter"
_DIGEST = re.compile("sha256:([0-9a-f]{64})")
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")


@dataclass(frozen=True, slots=True)
class ExternalModel:
    """Describes a model of another program, `owner`. `sha256` is empty if the owner has no hash."""

    name: str
    path: Path
    n_bytes: int
    owner: str
    sha256: str = ""
    adapters: tuple[Path, ...] = ()


def external_models() -> list[ExternalModel]:
    """Lists the models by name; of several revisions of one hub file, the newest."""
    models = [*_ollama_models(), *_llama_cpp_models(), *_hub_cache_models()]
    by_name = {model.name: model for model in reversed(models)}
    return [by_name[name] for name in sorted(by_name)]


def find_model(name: str) -> ExternalModel | None:
    """Returns the model `ollama:NAME[:TAG]` or `llama.cpp:FILE`, or None."""
    models: Iterator[ExternalModel] = iter(())
    if name.startswith(OLLAMA_PREFIX):
        models = _ollama_models()
    elif name.startswith(LLAMA_CPP_PREFIX):
        models = _llama_cpp_models()
    return next((model for model in models if model.name in (name, f"{name}:latest")), None)


def is_external_name(name: str) -> bool:
    return name.startswith((OLLAMA_PREFIX, LLAMA_CPP_PREFIX))


def find_hub_file(file: HubFile) -> Path | None:
    """Returns the path at which another program has this file of the hub, or None."""
    if file.sha256:
        blobs = (folder / "blobs" / f"sha256-{file.sha256}" for folder in ollama_folders())
        if blob := next(filter(_is_whole, blobs), None):
            return blob
    flat = llama_cpp_cache() / f"{file.repo}/{file.file}".replace("/", "_")
    return next(filter(_is_whole, (*hub_client.cached_copies(file), flat)), None)


def ollama_folders() -> list[Path]:
    if folder := os.environ.get("OLLAMA_MODELS"):
        return [Path(folder)]
    return [_home() / ".ollama" / "models", *([_SYSTEM_OLLAMA] if sys.platform == "linux" else [])]


def llama_cpp_cache() -> Path:
    if folder := os.environ.get("LLAMA_CACHE"):
        return Path(folder)
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "llama.cpp"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else _home() / ".cache") / "llama.cpp"


def _home() -> Path:
    return Path(os.path.expanduser("~"))


def _ollama_models() -> Iterator[ExternalModel]:
    for folder in ollama_folders():
        root = folder / "manifests"
        for manifest in _walk(root, 4):
            host, *parts = manifest.relative_to(root).parts
            if len(parts) == 3 and (model := _read_manifest(folder, manifest, host, parts)):
                yield model


def _read_manifest(
    folder: Path, manifest: Path, host: str, parts: list[str]
) -> ExternalModel | None:
    """Returns None unless the manifest has exactly one model. As in Ollama, the name omits the host
    and the owner of Ollama's own registry."""
    owner, model, tag = parts
    prefix = [] if host == "registry.ollama.ai" else [host]
    prefix += [] if owner == "library" else [owner]
    name = f"{OLLAMA_PREFIX}{'/'.join([*prefix, model])}:{tag}"
    digests = _layers(manifest)
    models = [digest for kind, digest in digests if kind == _MODEL_LAYER]
    blobs = [folder / "blobs" / f"sha256-{digest}" for digest in models]
    if len(blobs) != 1 or not _is_whole(blobs[0]) or not name.isprintable():
        return None
    loras = [folder / "blobs" / f"sha256-{d}" for kind, d in digests if kind == _ADAPTER_LAYER]
    return ExternalModel(name, blobs[0], _n_bytes(blobs[0]), "Ollama", models[0], tuple(loras))


def _layers(manifest: Path) -> list[tuple[str, str]]:
    """Returns the media type and SHA-256 of each layer; none if the manifest is invalid."""
    try:
        if manifest.stat().st_size > _MANIFEST_MAX_BYTES:
            return []
        layers: list[dict[str, Any]] = json.loads(read_regular(manifest))["layers"]
        pairs = [(str(layer["mediaType"]), str(layer["digest"])) for layer in layers]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [(kind, m[1]) for kind, digest in pairs if (m := _DIGEST.fullmatch(digest))]


def _llama_cpp_models() -> Iterator[ExternalModel]:
    for path in _list_folder(llama_cpp_cache()):
        if _is_listable(path):
            yield ExternalModel(f"{LLAMA_CPP_PREFIX}{path.name}", path, _n_bytes(path), "llama.cpp")


def _hub_cache_models() -> Iterator[ExternalModel]:
    for repo, file, path in hub_client.cached_files():
        if "/" in repo and _is_listable(path):
            blob = path.resolve().name  # the client names the blob of a large file by its SHA-256
            sha256 = blob if re.fullmatch("[0-9a-f]{64}", blob) else ""
            name = f"{HUB_PREFIX}{repo}/{file}"
            yield ExternalModel(name, path, _n_bytes(path), "the hub's client", sha256)


def _is_listable(path: Path) -> bool:
    """Returns True for the first file of a model whose files are all present."""
    name = path.name
    is_model = name.endswith(".gguf") and "mmproj" not in name and not _LATER_PART.search(name)
    return is_model and name.isprintable() and _is_whole(path)


def _is_whole(path: Path) -> bool:
    try:
        return all(path.with_name(name).is_file() for name in part_names(path.name))
    except (OSError, ValueError):
        return False


def _n_bytes(path: Path) -> int:
    return sum(path.with_name(name).stat().st_size for name in part_names(path.name))


def _list_folder(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Yields the files that are at most `depth` folders below `folder`."""
    for path in _list_folder(folder):
        if path.is_dir():
            yield from _walk(path, depth - 1) if depth else ()
        else:
            yield path
