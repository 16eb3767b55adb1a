--- Draws ghost text as one extmark, which is updated in place.
local M = {}

M.namespace = vim.api.nvim_create_namespace('llmd')

local HL = 'LlmdGhost'
local shown_buf

--- Replaces tabs by blanks: Neovim does not expand a tab in virtual text.
---@param text string
---@param width integer the width of the line before the text
---@param tabstop integer
---@return string
local function untabbed(text, width, tabstop)
  if not text:find('\t', 1, true) then
    return text
  end
  local parts = vim.split(text, '\t', { plain = true })
  local out = parts[1]
  for i = 2, #parts do
    local at = width + vim.fn.strdisplaywidth(out)
    out = out .. (' '):rep(tabstop - at % tabstop) .. parts[i]
  end
  return out
end

--- Draws the text at a position, in place of the ghost text before.
---@param buf integer
---@param row integer
---@param col integer in bytes
---@param text string
function M.show(buf, row, col, text)
  if shown_buf and shown_buf ~= buf then
    M.clear()
  end
  local tabstop, lines = vim.bo[buf].tabstop, vim.split(text, '\n', { plain = true })
  local width = text:find('\t', 1, true) and vim.fn.virtcol({ row + 1, col }) or 0
  local below = {}
  for i = 2, #lines do
    below[i - 1] = { { untabbed(lines[i], 0, tabstop), HL } }
  end
  shown_buf = buf
  vim.api.nvim_buf_set_extmark(buf, M.namespace, row, col, {
    id = 1,
    virt_text = { { untabbed(lines[1], width, tabstop), HL } },
    virt_text_pos = 'inline',
    virt_lines = #below > 0 and below or nil,
    hl_mode = 'combine',
    undo_restore = false,
    strict = false,
  })
end

function M.clear()
  if shown_buf then
    if vim.api.nvim_buf_is_valid(shown_buf) then
      vim.api.nvim_buf_clear_namespace(shown_buf, M.namespace, 0, -1)
    end
    shown_buf = nil
  end
end

return M
