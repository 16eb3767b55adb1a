--- Shows text that is too long for a message in a window, which `q` closes.
local M = {}

local MAX_LINES = 20

---@param lines string[]
function M.show(lines)
  vim.cmd('botright 1new')
  vim.bo.buftype = 'nofile'
  vim.bo.bufhidden = 'wipe'
  vim.bo.swapfile = false
  vim.api.nvim_buf_set_lines(0, 0, -1, false, lines)
  vim.bo.modifiable = false
  vim.api.nvim_win_set_height(0, math.min(vim.api.nvim_win_text_height(0, {}).all, MAX_LINES))
  vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = true })
end

return M
