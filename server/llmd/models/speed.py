"""How fast a model can decode: each token reads all weights that work on it, and the KV cache,
once. Pure.

Checked against llama.cpp's own tables of Llama-2-7B (discussions #4167 and #15013): what is left
beside the reading is a fixed time for each layer, so small models and fast memory get less of it.
"""

from __future__ import annotations

import re

READ_SHARE = 0.85  # of a memory's nominal bandwidth that weights are read with
_LAYER_S = {"metal": 150e-6, "gpu": 35e-6, "cpu": 0.0}
_N_LAYERS_ELSE = 30

# Nominal, in GB/s, by the maker's pages. The first that fits.
_BANDWIDTHS = tuple(
    (re.compile(pattern, re.IGNORECASE), gb_per_s)
    for pattern, gb_per_s in (
        (r"M1 Ultra|M2 Ultra", 800), (r"M3 Ultra", 819), (r"M1 Max|M2 Max", 400),
        (r"M3 Max", 400), (r"M4 Max", 546), (r"M1 Pro|M2 Pro", 200), (r"M3 Pro", 150),
        (r"M4 Pro", 273), (r"Apple M4", 120), (r"Apple M[23]", 100), (r"Apple M1", 68),
        (r"AI MAX\+? (PRO )?3\d\d", 256), (r"RTX 5090", 1792), (r"RTX 4090", 1008),
        (r"RTX 3090 Ti", 1008), (r"RTX 3090", 936), (r"RTX 2080 Ti", 616), (r"RTX 4080", 717),
        (r"RTX 4070 Ti SUPER", 672), (r"RTX 4070", 504), (r"RTX 4060 Ti", 288), (r"RTX 4060", 272),
        (r"RTX 3060", 360), (r"RX 7900 XTX", 960), (r"RX 7900 XT", 800), (r"RX 6800", 512),
        (r"A100", 1555), (r"H100", 3350), (r"GB10", 273),
    )
)  # fmt: skip


def bandwidth_of(chip: str) -> float | None:
    """Nominal bytes a second of a chip by its name, where it is known."""
    found = (gb_per_s for pattern, gb_per_s in _BANDWIDTHS if pattern.search(chip))
    gb_per_s = next(found, None)
    return None if gb_per_s is None else gb_per_s * 1e9


def tokens_per_s(n_read_bytes: float, bytes_per_s: float, backend: str, n_layers: int = 0) -> float:
    """`n_read_bytes`: weights at work and KV cache. `bytes_per_s`: nominal."""
    reading_s = n_read_bytes / (READ_SHARE * bytes_per_s)
    return 1 / (reading_s + (n_layers or _N_LAYERS_ELSE) * _LAYER_S[backend])
