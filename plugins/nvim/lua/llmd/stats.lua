--- What became of suggestions, for the daemon's counts. Numbers of characters, never text.
local channel = require('llmd.channel')

local M = {}

local KEPT_AFTER_MS = 30000
local namespace = vim.api.nvim_create_namespace('llmd.accepted')

---@param buf integer
---@param kind 'shown'|'accepted'|'typed_through'|'rejected'|'dismissed'|'kept'
---@param text string
function M.note(buf, kind, text)
  if channel.is_up() then
    channel.send('outcome', { buf = buf, kind = kind, n_chars = vim.fn.strchars(text) })
  end
end

--- The characters at both ends of `text` that stand in `now` still.
local function kept_of(text, now)
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

--- Empty where its lines were deleted: the mark may then stand behind the last one.
local function text_between(buf, mark)
  local row, col, details = mark[1], mark[2], mark[3]
  local ok, lines =
    pcall(vim.api.nvim_buf_get_text, buf, row, col, details.end_row, details.end_col, {})
  return ok and table.concat(lines, '\n') or ''
end

local function look_again(buf, id, text)
  if not vim.api.nvim_buf_is_loaded(buf) then
    return
  end
  local mark = vim.api.nvim_buf_get_extmark_by_id(buf, namespace, id, { details = true })
  vim.api.nvim_buf_del_extmark(buf, namespace, id)
  if mark[1] then
    M.note(buf, 'kept', kept_of(text, text_between(buf, mark)))
  end
end

--- `text` stands from there to the cursor. What is left of it is counted later.
---@param from integer[] row and col_bytes
---@param to integer[]
function M.accepted(buf, from, to, text)
  M.note(buf, 'accepted', text)
  local id = vim.api.nvim_buf_set_extmark(buf, namespace, from[1], from[2], {
    end_row = to[1],
    end_col = to[2],
    right_gravity = false,
    end_right_gravity = false,
    strict = false,
  })
  vim.defer_fn(function()
    look_again(buf, id, text)
  end, vim.g.llmd_kept_after_ms or KEPT_AFTER_MS)
end

return M
