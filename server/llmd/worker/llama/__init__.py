"""llama.cpp through its C functions: model, vocabulary, context. The only importer of llama_cpp.

It knows nothing of requests, families or the mirror of the KV cache. One thread of the worker
calls it.
"""

from llmd.worker.llama.context import Context, Logits, StateBytes
from llmd.worker.llama.devices import backend, gpus, has_params_fit
from llmd.worker.llama.model import Model
from llmd.worker.llama.vocabulary import Vocabulary

__all__ = [
    "Context",
    "Logits",
    "Model",
    "StateBytes",
    "Vocabulary",
    "backend",
    "gpus",
    "has_params_fit",
]
