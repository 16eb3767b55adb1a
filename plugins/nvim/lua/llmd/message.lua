--- Shows the user messages that were not asked for: one line each, once.
local M = {}

local shown = {} ---@type table<string, boolean>

--- Cuts a text to the width of the message line: Neovim would wait for a key after a longer one.
---@param text string
---@return string
local function fit(text)
  local width = vim.v.echospace
  if vim.fn.strdisplaywidth(text) <= width then
    return text
  end
  return vim.fn.strcharpart(text, 0, math.max(width - 1, 0)) .. '…'
end

--- Shows a sentence that has not been shown before.
---@param sentence string
function M.once(sentence)
  if not shown[sentence] then
    shown[sentence] = true
    vim.api.nvim_echo({ { fit('llmd: ' .. sentence) } }, true, {})
  end
end

return M
