--- Shows text that is too long for a message in a window, which `q` closes.
local M = {}

local MAX_LINES = 20

---@param lines string[]
function M.show(lines)
  vim.cmd('botright ' .. math.min(#lines, MAX_LINES) .. 'new')
  vim.bo.buftype = 'nofile'
  vim.bo.bufhidden = 'wipe'
  vim.bo.swapfile = false
  vim.api.nvim_buf_set_lines(0, 0, -1, false, lines)
  vim.bo.modifiable = false
  vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = true })
end

return M
