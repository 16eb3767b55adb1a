"""Writes tiny GGUF files with a vocabulary only: 256 bytes and a family's tokens."""

from __future__ import annotations

from pathlib import Path

from gguf import GGUFWriter, TokenType

from llmd.prompt.families import Family


def special_spellings(family: Family) -> list[str]:
    framed = [part for part in (*family.opening, *family.closing) if part.startswith("<")]
    spellings = [*family.spellings, family.repo, family.file, *family.stop, *framed]
    return [text for text in dict.fromkeys(spellings) if text]


def write_vocabulary(path: Path, name: str, family: Family, declared: dict[str, int]) -> None:
    """Writes sentencepiece for CodeLlama, and byte-level BPE for all other families."""
    is_sentencepiece = family.name == "codellama"
    writer = GGUFWriter(path, "llama")
    writer.add_name(name)
    plain = _sentencepiece() if is_sentencepiece else _byte_level()
    special = special_spellings(family)
    kinds = [TokenType.BYTE if text[:3] == "<0x" else TokenType.NORMAL for text in plain]
    writer.add_tokenizer_model("llama" if is_sentencepiece else "gpt2")
    writer.add_token_list([*plain, *special])
    writer.add_token_types([*kinds, *[TokenType.CONTROL] * len(special)])
    if is_sentencepiece:
        writer.add_token_scores([0.0] * (len(plain) + len(special)))
    else:
        writer.add_tokenizer_pre("default")
        writer.add_token_merges([f"{plain[0]} {plain[1]}"])
    for role, token in declared.items():
        writer.add_uint32(f"tokenizer.ggml.fim_{role}_token_id", token)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def _byte_level() -> list[str]:
    """Returns GPT-2's characters for bytes (Radford et al. 2019, `bytes_to_unicode`)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def _sentencepiece() -> list[str]:
    return ["▁", *(f"<0x{byte:02X}>" for byte in range(256)), *map(chr, range(33, 127))]
