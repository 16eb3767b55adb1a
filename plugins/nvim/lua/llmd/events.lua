--- When each part has its turn. A handler that fails is told once and hinders nobody's typing.
local buffers = require('llmd.buffers')
local channel = require('llmd.channel')
local config = require('llmd.config')
local keys = require('llmd.keys')
local message = require('llmd.message')
local cursor = require('llmd.cursor')
local suggestion = require('llmd.suggestion')

local M = {}

-- The cursor has come to rest: its prompt is evaluated before the first key.
local REST_MS = 150
local rest = assert(vim.uv.new_timer())

local function guarded(handler)
  return function(event)
    local ok, problem = pcall(handler, event)
    if not ok then
      message.once(tostring(problem))
    end
  end
end

local function tell_cursor()
  local buf = vim.api.nvim_get_current_buf()
  if config.off_reason(buf) then
    return
  end
  if buffers.flush(buf) then
    local row, col = cursor.cursor()
    channel.send('cursor', { buf = buf, row = row, col_bytes = col })
  end
end

local function soon()
  rest:start(REST_MS, 0, vim.schedule_wrap(guarded(tell_cursor)))
end

local function entered()
  tell_cursor()
  suggestion.changed()
end

local function left_insert()
  suggestion.drop('rejected')
  suggestion.set_block(false)
end

--- What is typed after a blockwise selection, or `I` and `A` in another, goes into each line.
local function is_typed_in_each_line(old)
  return old == '\22' or (old:lower() == 'v' and vim.list_contains({ 'I', 'A' }, vim.v.operator))
end

--- `i` to `niI` is `<C-O>`, to `ic` a menu.
local function mode_changed()
  local old, new = vim.v.event.old_mode, vim.v.event.new_mode
  local was_insert, is_insert = old:sub(1, 1) == 'i', new:sub(1, 1) == 'i'
  if was_insert and not is_insert then
    left_insert()
  elseif is_insert and not was_insert then
    suggestion.set_block(is_typed_in_each_line(old))
    if old:sub(1, 2) == 'ni' then
      suggestion.changed()
    end
  end
end

local function menu_changed()
  suggestion.drop('rejected')
end

local function renamed(event)
  buffers.renew(event.buf)
end

local function gone(event)
  buffers.forget(event.buf)
end

local HANDLERS = {
  { { 'InsertEnter' }, vim.schedule_wrap(guarded(entered)) },
  { { 'TextChangedI', 'CursorMovedI', 'CompleteDone' }, guarded(function() suggestion.changed() end) },
  { { 'CompleteChanged', 'TextChangedP' }, guarded(menu_changed) },
  { { 'InsertLeave', 'BufLeave', 'WinLeave' }, guarded(left_insert) },
  { { 'ModeChanged' }, guarded(mode_changed) },
  { { 'CursorMoved', 'TextChanged', 'BufEnter' }, guarded(soon) },
  { { 'BufFilePost', 'FileType' }, guarded(renamed) },
  { { 'BufUnload' }, guarded(gone) },
} -- stylua: ignore

--- Once, when the editor has started.
function M.start()
  local group = vim.api.nvim_create_augroup('llmd', {})
  for _, handler in ipairs(HANDLERS) do
    vim.api.nvim_create_autocmd(handler[1], { group = group, callback = handler[2] })
  end
  channel.on('show', suggestion.receive)
  channel.on('open', buffers.renew_all)
  channel.on('open', vim.schedule_wrap(guarded(tell_cursor)))
  channel.on('open', vim.schedule_wrap(guarded(suggestion.again)))
  channel.on('ready', vim.schedule_wrap(guarded(suggestion.again)))
  channel.on('lost', suggestion.lost)
  keys.map()
  soon()
end

return M
