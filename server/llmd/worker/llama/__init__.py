"""Wraps the C functions of llama.cpp: model, vocabulary, context. The only importer of llama_cpp.

This package does not know requests, prompt families or `KvCache`. Only the worker's main thread
calls it.
"""

from llmd.worker.llama.context import Context, Logits, StateBytes
from llmd.worker.llama.model import Model
from llmd.worker.llama.system_info import (
    backend,
    backends,
    gpu_problem,
    gpus,
    has_params_fit,
)
from llmd.worker.llama.vocabulary import Vocabulary

__all__ = [
    "Context",
    "Logits",
    "Model",
    "StateBytes",
    "Vocabulary",
    "backend",
    "backends",
    "gpu_problem",
    "gpus",
    "has_params_fit",
]
