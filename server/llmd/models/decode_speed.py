"""Estimates how fast a model decodes. Each token reads all weights that work on the token, and the
KV cache, once. Pure.

Checked against llama.cpp's own tables of Llama-2-7B (discussions #4167 and #15013). Each layer also
takes a fixed time, so small models and fast memory reach a smaller share of the bandwidth.
"""

from __future__ import annotations

import re

READ_SHARE = 0.85  # share of a memory's nominal bandwidth that reading weights reaches
_LAYER_S = {"metal": 150e-6, "gpu": 35e-6, "cpu": 0.0}
_TYPICAL_N_LAYERS = 30

# Nominal bandwidths in GB/s, as published by the makers and several public projects. The first
# match counts. Where two kinds of chip share a name, the value of the faster one.
_BANDWIDTHS = tuple(
    (re.compile(pattern, re.IGNORECASE), gb_per_s)
    for pattern, gb_per_s in (
        (r"M[12] Ultra", 800), (r"M3 Ultra", 819), (r"M[12] Max", 400), (r"M3 Max", 400),
        (r"M4 Max", 546), (r"M5 Max", 614), (r"M[12] Pro", 200), (r"M3 Pro", 150),
        (r"M4 Pro", 273), (r"M5 Pro", 307), (r"Apple M5", 153), (r"Apple M4", 120),
        (r"Apple M[23]", 100), (r"Apple M1", 68),
        (r"AI MAX\+? (PRO )?3\d\d|Radeon 80[56]0S|Strix Halo", 256), (r"GB10", 273),
        (r"RTX 50[89]0 Laptop", 896), (r"RTX 5070 Ti Laptop", 672), (r"RTX 50[67]0 Laptop", 384),
        (r"RTX 4090 Laptop", 576), (r"RTX 4080 Laptop", 432), (r"RTX 40[67]0 Laptop", 256),
        (r"RTX 3080 Ti Laptop", 512), (r"RTX 30[78]0( Ti)? Laptop", 448),
        (r"RTX 3060 Laptop", 336),
        (r"RTX 5090", 1792), (r"RTX 5080", 960), (r"RTX 5070 Ti", 896), (r"RTX 5070", 672),
        (r"RTX 5060", 448),
        (r"RTX 4090", 1008), (r"RTX 4080 SUPER", 736), (r"RTX 4080", 717),
        (r"RTX 4070 Ti SUPER", 672), (r"RTX 4070", 504), (r"RTX 4060 Ti", 288), (r"RTX 4060", 272),
        (r"RTX 3090 Ti", 1008), (r"RTX 3090", 936), (r"RTX 3080 Ti", 912), (r"RTX 3080", 760),
        (r"RTX 3070 Ti", 608), (r"RTX 30(70|60 Ti)", 448), (r"RTX 3060", 360),
        (r"RTX 2080 Ti", 616), (r"RTX 20[78]0", 448), (r"RTX 2060", 336),
        (r"RX 9070", 640), (r"RX 7900 XTX", 960), (r"RX 7900 XT", 800), (r"RX 7800 XT", 624),
        (r"RX 6[89]00", 512), (r"A100.*80", 1935), (r"A100", 1555), (r"H100 PCIe", 2000),
        (r"H100 NVL", 3900), (r"H100", 3350), (r"H200", 4800), (r"G?B200", 8000), (r"L40", 864),
        (r"L4\b", 300), (r"T4\b", 320), (r"V100", 900), (r"A10G?\b", 600), (r"A6000", 768),
        (r"RTX 6000 Ada", 960), (r"RTX PRO 6000.*Server", 1597), (r"RTX PRO 6000", 1792),
        (r"^Orin|Jetson AGX Orin", 204.8), (r"Thor", 273),
    )
)  # fmt: skip


def nominal_bandwidth(chip: str) -> float | None:
    """Returns a chip's nominal bandwidth in bytes per second, or None if its name is not known, or
    names a part of a GPU (MIG), which has a part of the bandwidth."""
    if re.search(r"\bMIG\b", chip):
        return None
    matches = (gb_per_s for pattern, gb_per_s in _BANDWIDTHS if pattern.search(chip))
    gb_per_s = next(matches, None)
    return None if gb_per_s is None else gb_per_s * 1e9


def tokens_per_s(n_read_bytes: float, bytes_per_s: float, backend: str, n_layers: int = 0) -> float:
    """Estimates the decode speed. `n_read_bytes`: weights that work on one token, and KV cache.
    `bytes_per_s`: nominal bandwidth."""
    reading_s = n_read_bytes / (READ_SHARE * bytes_per_s)
    return 1 / (reading_s + (n_layers or _TYPICAL_N_LAYERS) * _LAYER_S[backend])
