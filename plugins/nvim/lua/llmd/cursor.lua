--- Says where the cursor is, and what was typed since it was at an earlier position. Rows count
--- from 0, columns count bytes from 0.
local M = {}

---@return integer row
---@return integer col
function M.position()
  local position = vim.api.nvim_win_get_cursor(0)
  return position[1] - 1, position[2]
end

--- Returns the text right of a position in the current buffer.
---@param row integer
---@param col integer
---@return string
function M.right_of(row, col)
  local line = vim.api.nvim_buf_get_lines(0, row, row + 1, false)[1] or ''
  return line:sub(col + 1)
end

--- Returns the text between an earlier position and the cursor; nil when the cursor is not behind
--- it.
---@param earlier { buf: integer, row: integer, col: integer }
---@param row integer
---@param col integer
---@return string?
function M.typed_since(earlier, row, col)
  local is_before = row < earlier.row or (row == earlier.row and col < earlier.col)
  if is_before or vim.api.nvim_get_current_buf() ~= earlier.buf then
    return nil
  end
  local ok, lines = pcall(vim.api.nvim_buf_get_text, 0, earlier.row, earlier.col, row, col, {})
  return ok and table.concat(lines, '\n') or nil
end

--- Returns whether ghost text may show: not while a macro is recorded or executed, so that its keys
--- do the same each time, nor beside the popup menu, which uses the same keys.
---@return boolean
function M.may_show()
  return vim.api.nvim_get_mode().mode == 'i'
    and vim.fn.pumvisible() == 0
    and vim.fn.reg_recording() == ''
    and vim.fn.reg_executing() == ''
end

return M
