"""Defines, reads and watches the configuration. Re-exports the classes of the schema."""

from llmd.config.schema import (
    CacheType,
    CompletionConfig,
    Config,
    ContextConfig,
    EngineConfig,
    FimConfig,
    KvConfig,
    SamplingConfig,
)

__all__ = [
    "CacheType",
    "CompletionConfig",
    "Config",
    "ContextConfig",
    "EngineConfig",
    "FimConfig",
    "KvConfig",
    "SamplingConfig",
]
