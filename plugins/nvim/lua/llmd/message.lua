--- What a user is told unasked: one line, once.
local M = {}

local told = {}

--- Cut to what fits: a longer one would stop the editor until a key is pressed.
local function fitting(text)
  local width = vim.v.echospace
  if vim.fn.strdisplaywidth(text) <= width then
    return text
  end
  return vim.fn.strcharpart(text, 0, math.max(width - 1, 0)) .. '…'
end

---@param text string
function M.once(text)
  if not told[text] then
    told[text] = true
    vim.api.nvim_echo({ { fitting('llmd: ' .. text) } }, true, {})
  end
end

return M
