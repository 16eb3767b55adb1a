"""Defines, reads and watches the configuration. Re-exports the schema."""

from llmd.config.schema import CacheType, Completion, Config, Context, Engine, Fim, Kv, Sampling

__all__ = ["CacheType", "Completion", "Config", "Context", "Engine", "Fim", "Kv", "Sampling"]
