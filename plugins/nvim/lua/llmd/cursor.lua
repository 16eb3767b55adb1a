--- Where the cursor is, and what was typed since it was elsewhere. Rows from 0, columns in bytes.
local M = {}

---@return integer row
---@return integer col
function M.cursor()
  local place = vim.api.nvim_win_get_cursor(0)
  return place[1] - 1, place[2]
end

function M.right_of(row, col)
  local line = vim.api.nvim_buf_get_lines(0, row, row + 1, false)[1] or ''
  return line:sub(col + 1)
end

--- What stands between a place and the cursor; nil where the cursor is not behind it.
---@param asked { buf: integer, row: integer, col: integer }
---@return string?
function M.typed_since(asked, row, col)
  local is_before = row < asked.row or (row == asked.row and col < asked.col)
  if is_before or vim.api.nvim_get_current_buf() ~= asked.buf then
    return nil
  end
  local ok, lines = pcall(vim.api.nvim_buf_get_text, 0, asked.row, asked.col, row, col, {})
  return ok and table.concat(lines, '\n') or nil
end

--- Recording or replaying, a key must do what it did; and a menu has the keys and the place.
function M.may_show()
  return vim.api.nvim_get_mode().mode == 'i'
    and vim.fn.pumvisible() == 0
    and vim.fn.reg_recording() == ''
    and vim.fn.reg_executing() == ''
end

return M
