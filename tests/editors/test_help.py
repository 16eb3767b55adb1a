"""A user of llama.vim or copilot.vim finds each of its names in both plugins' help."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.editors.neovim import PLUGIN as NEOVIM
from tests.editors.vim import PLUGIN as VIM

# Of `g:llama_config` in llama.vim of September 2026, with its commands and colours.
LLAMA = """
    endpoint_fim endpoint_inst profiles profile model_fim model_inst api_key n_prefix n_suffix
    n_predict stop_strings_fim stop_strings_inst n_cmpl t_max_prompt_ms t_max_predict_ms show_info
    info_compact auto_fim fim_debounce_ms max_line_suffix max_cache_keys ring_n_chunks
    ring_chunk_size ring_scope ring_update_ms keymap_fim_trigger keymap_fim_accept_full
    keymap_fim_accept_line keymap_fim_accept_word keymap_fim_next keymap_fim_prev
    keymap_inst_trigger keymap_inst_rerun keymap_inst_continue keymap_inst_accept
    keymap_inst_cancel keymap_debug_toggle enable_at_startup llama_hl_fim_hint llama_hl_fim_info
    :LlamaEnable :LlamaDisable :LlamaToggle :LlamaToggleAutoFim :LlamaStatus :LlamaProfile
    :LlamaProfileReset :LlamaInstruct :LlamaDebugToggle :LlamaDebugClear
"""
COPILOT = """
    <Tab> <C-]> <M-]> <M-[> <M-\\> <M-Right> <M-C-Right> <Plug>(copilot-dismiss)
    <Plug>(copilot-next) <Plug>(copilot-previous) <Plug>(copilot-suggest)
    <Plug>(copilot-accept-word) <Plug>(copilot-accept-line) copilot#Accept g:copilot_filetypes
    b:copilot_enabled g:copilot_no_maps g:copilot_no_tab_map CopilotSuggestion
"""


@pytest.mark.parametrize("plugin", [NEOVIM, VIM], ids=["nvim", "vim"])
@pytest.mark.parametrize("names", [LLAMA, COPILOT], ids=["llama.vim", "copilot.vim"])
def test_each_of_their_names_stands_in_the_help(plugin: Path, names: str) -> None:
    words = (plugin / "doc" / "llmd.txt").read_text().split()
    stands = {word.strip(",").partition('("')[0] for word in words}
    assert [name for name in names.split() if name not in stands] == []
