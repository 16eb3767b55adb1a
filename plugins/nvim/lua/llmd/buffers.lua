--- Which buffers the daemon knows, and what it has not been told of them yet.
---
--- Edits are gathered as positions (`on_bytes`) and sent with the text as it is then: while an undo
--- is reported step by step, the buffer already is at its end.
local channel = require('llmd.channel')
local changes = require('llmd.changes')

local M = {}

---@class llmd.Buffer
---@field version integer
---@field is_known boolean what the daemon has, with `edit`, is what the buffer is
---@field edit llmd.Edit?
---@field n_lines integer
---@field n_bytes integer
local buffers = {} ---@type table<integer, llmd.Buffer>

local function size_of(buf)
  local n_lines = vim.api.nvim_buf_line_count(buf)
  return n_lines, vim.api.nvim_buf_get_offset(buf, n_lines)
end

local function on_bytes(_, buf, _, row, col, _, old_rows, old_col, old_bytes, new_rows, new_col, new_bytes)
  local known = buffers[buf]
  if not known then
    return true
  end
  known.edit = changes.joined(known.edit, {
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

--- From the edit's start to its new end, which may be the end of the last line's own line end.
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
    return send_whole(buf, known) -- an edit that was reported otherwise than it was
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

--- Tells the daemon what is new. The version it then has; nil where it can't be told.
---@param buf integer
---@return integer?
function M.flush(buf)
  if not channel.is_up() then
    channel.connect()
    return nil
  end
  if not buffers[buf] then
    attach(buf)
  end
  local known = buffers[buf]
  local is_told = true
  if not known.is_known then
    is_told = send_whole(buf, known)
  elseif known.edit then
    is_told = send_edit(buf, known)
  end
  return is_told and known.version or nil
end

function M.is_known(buf)
  return buffers[buf] ~= nil
end

--- Its name, filetype or whole text is another.
function M.renew(buf)
  if buffers[buf] then
    buffers[buf].is_known = false
  end
end

function M.renew_all()
  for buf in pairs(buffers) do
    M.renew(buf)
  end
end

M.forget = forget

return M
