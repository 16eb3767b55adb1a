--- Keeps the daemon's copies of buffers up to date.
---
--- Neovim reports edits as positions (`on_bytes`), which are merged and sent later together with
--- the text: while Neovim reports an undo step by step, the buffer already has the text after the
--- last step.
local changes = require('llmd.changes')
local channel = require('llmd.channel')
local connect = require('llmd.connect')

local M = {}

---@class llmd.Buffer
---@field version integer
---@field is_known boolean whether the daemon's copy is the buffer's text, but for `edit`
---@field edit llmd.Edit? what has changed since the last message
---@field n_lines integer the size of the buffer according to the reported edits
---@field n_bytes integer
local buffers = {} ---@type table<integer, llmd.Buffer>

local function size_of(buf)
  local n_lines = vim.api.nvim_buf_line_count(buf)
  return n_lines, vim.api.nvim_buf_get_offset(buf, n_lines)
end

local function on_bytes(_, buf, _, row, col, _, old_rows, old_col, old_bytes, new_rows, ...)
  local new_col, new_bytes = ...
  local known = buffers[buf]
  if not known then
    return true
  end
  known.edit = changes.merge(known.edit, {
    start = { row, col },
    old_end = { row + old_rows, old_rows == 0 and col + old_col or old_col },
    new_end = { row + new_rows, new_rows == 0 and col + new_col or new_col },
  })
  known.n_lines = known.n_lines + new_rows - old_rows
  known.n_bytes = known.n_bytes + new_bytes - old_bytes
end

local function forget(buf)
  if buffers[buf] then
    buffers[buf] = nil
    if channel.is_up() then
      channel.send('close', { buf = buf })
    end
  end
end

local function attach(buf)
  buffers[buf] = { version = 0, is_known = false, n_lines = 0, n_bytes = 0 }
  vim.api.nvim_buf_attach(buf, false, {
    on_bytes = on_bytes,
    on_reload = function()
      M.renew(buf)
    end,
    on_detach = function()
      forget(buf)
    end,
  })
end

local function uri_of(buf)
  local name = vim.api.nvim_buf_get_name(buf)
  return name == '' and 'untitled:' .. buf or vim.uri_from_fname(name)
end

local function send_whole(buf, known)
  known.version = known.version + 1
  known.edit = nil
  known.n_lines, known.n_bytes = size_of(buf)
  known.is_known = channel.send('open', {
    buf = buf,
    uri = uri_of(buf),
    filetype = vim.bo[buf].filetype,
    version = known.version,
    lines = vim.api.nvim_buf_get_lines(buf, 0, -1, false),
  })
  return known.is_known
end

--- Returns the text from the edit's start to its new end, which may be behind the newline of the
--- last line.
local function new_lines(buf, change, n_lines)
  local start, last = change.start, change.new_end
  if start[1] >= n_lines then
    return { '' }
  elseif last[1] < n_lines then
    return vim.api.nvim_buf_get_text(buf, start[1], start[2], last[1], last[2], {})
  end
  local lines = vim.api.nvim_buf_get_text(buf, start[1], start[2], -1, -1, {})
  return vim.list_extend(lines, { '' })
end

local function send_edit(buf, known)
  local n_lines, n_bytes = size_of(buf)
  if n_lines ~= known.n_lines or n_bytes ~= known.n_bytes then
    return send_whole(buf, known) -- Neovim reported an edit incorrectly
  end
  local change = known.edit
  known.edit = nil
  known.version = known.version + 1
  known.is_known = channel.send('change', {
    buf = buf,
    version = known.version,
    start = change.start,
    ['end'] = change.old_end,
    lines = new_lines(buf, change, n_lines),
  })
  return known.is_known
end

--- Sends what has changed. Returns the version of the daemon's copy; nil when nothing can be sent,
--- and a connection is then tried.
---@param buf integer
---@return integer?
function M.sync(buf)
  if not channel.is_up() then
    connect.ensure()
    return nil
  end
  if not buffers[buf] then
    attach(buf)
  end
  local known = buffers[buf]
  local is_sent = true
  if not known.is_known then
    is_sent = send_whole(buf, known)
  elseif known.edit then
    is_sent = send_edit(buf, known)
  end
  return is_sent and known.version or nil
end

---@param buf integer
---@return boolean
function M.is_known(buf)
  return buffers[buf] ~= nil
end

--- Marks the buffer to be sent again: its name, its filetype or all of its text has changed.
---@param buf integer
function M.renew(buf)
  if buffers[buf] then
    buffers[buf].is_known = false
  end
end

--- Marks every buffer to be sent again: the daemon has no copies.
function M.renew_all()
  for buf in pairs(buffers) do
    M.renew(buf)
  end
end

M.forget = forget

return M
