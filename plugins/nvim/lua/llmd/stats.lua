--- Reports to the daemon what became of each suggestion. The reports have numbers of characters,
--- and never text.
local channel = require('llmd.channel')
local config = require('llmd.config')

local M = {}

local namespace = vim.api.nvim_create_namespace('llmd.accepted')

---@param buf integer
---@param kind 'shown'|'accepted'|'typed_through'|'rejected'|'dismissed'|'kept'
---@param text string
function M.send(buf, kind, text)
  if channel.is_up() then
    channel.send('outcome', { buf = buf, kind = kind, n_chars = vim.fn.strchars(text) })
  end
end

--- Returns what `text` and `now` have in common at both ends.
local function common_ends(text, now)
  local n = math.min(#text, #now)
  local head, tail = 0, 0
  while head < n and text:byte(head + 1) == now:byte(head + 1) do
    head = head + 1
  end
  while tail < n - head and text:byte(#text - tail) == now:byte(#now - tail) do
    tail = tail + 1
  end
  return text:sub(1, head) .. text:sub(#text - tail + 1)
end

--- Returns the text of an extmark; empty when its lines were deleted, after which the mark may be
--- behind the last line.
local function marked_text(buf, mark)
  local row, col, details = mark[1], mark[2], mark[3]
  local ok, lines =
    pcall(vim.api.nvim_buf_get_text, buf, row, col, details.end_row, details.end_col, {})
  return ok and table.concat(lines, '\n') or ''
end

local function send_kept(buf, id, text)
  if not vim.api.nvim_buf_is_loaded(buf) then
    return
  end
  local mark = vim.api.nvim_buf_get_extmark_by_id(buf, namespace, id, { details = true })
  vim.api.nvim_buf_del_extmark(buf, namespace, id)
  if mark[1] then
    M.send(buf, 'kept', common_ends(text, marked_text(buf, mark)))
  end
end

--- Reports that `text` was accepted, and after `g:llmd_kept_after_ms` how much of `text` was kept.
---@param buf integer
---@param from integer[] row and byte column of the start of the text
---@param to integer[] row and byte column of the end
---@param text string
function M.accepted(buf, from, to, text)
  M.send(buf, 'accepted', text)
  local id = vim.api.nvim_buf_set_extmark(buf, namespace, from[1], from[2], {
    end_row = to[1],
    end_col = to[2],
    right_gravity = false,
    end_right_gravity = false,
    strict = false,
  })
  vim.defer_fn(function()
    send_kept(buf, id, text)
  end, config.get('kept_after_ms'))
end

return M
