--- Connects Neovim's events and the daemon's messages to the modules that handle them.
local buffers = require('llmd.buffers')
local channel = require('llmd.channel')
local config = require('llmd.config')
local connect = require('llmd.connect')
local cursor = require('llmd.cursor')
local guard = require('llmd.guard')
local keys = require('llmd.keys')
local request = require('llmd.request')
local suggestion = require('llmd.suggestion')

local M = {}

local IDLE_MS = 150
local idle_timer = assert(vim.uv.new_timer())

--- Sends the text and the cursor, so that the daemon has evaluated the prompt before the first key
--- in Insert mode.
local function send_cursor()
  local buf = vim.api.nvim_get_current_buf()
  if config.off_reason(buf) then
    return
  end
  if buffers.sync(buf) then
    local row, col = cursor.position()
    channel.send('cursor', { buf = buf, row = row, col_bytes = col })
  end
end

--- Waits until the cursor rests.
local function on_idle()
  idle_timer:start(IDLE_MS, 0, guard.later(send_cursor))
end

local function on_insert_enter()
  send_cursor()
  request.changed()
end

local function on_insert_leave()
  request.stop('rejected')
  suggestion.set_block(false)
end

--- Returns whether Insert mode, entered from the mode `old`, types into each line of a block: after
--- a blockwise selection, or after `I` or `A` in another selection.
local function is_block_insert(old)
  return old == '\22' or (old:lower() == 'v' and vim.list_contains({ 'I', 'A' }, vim.v.operator))
end

--- Handles also changes within Insert mode: from `i` to `niI` by CTRL-O, to `ic` by a menu.
local function on_mode_changed()
  local old, new = vim.v.event.old_mode, vim.v.event.new_mode
  local was_insert, is_insert = old:sub(1, 1) == 'i', new:sub(1, 1) == 'i'
  if was_insert and not is_insert then
    on_insert_leave()
  elseif is_insert and not was_insert then
    suggestion.set_block(is_block_insert(old))
    if old:sub(1, 2) == 'ni' then
      request.changed()
    end
  end
end

local function on_menu_changed()
  request.stop('rejected')
end

local function on_renamed(event)
  buffers.renew(event.buf)
end

local function on_unload(event)
  buffers.forget(event.buf)
end

local EVENTS = {
  { { 'InsertEnter' }, guard.later(on_insert_enter) },
  { { 'TextChangedI', 'CursorMovedI', 'CompleteDone' }, guard.wrap(request.changed) },
  { { 'CompleteChanged', 'TextChangedP' }, guard.wrap(on_menu_changed) },
  { { 'InsertLeave', 'BufLeave', 'WinLeave' }, guard.wrap(on_insert_leave) },
  { { 'ModeChanged' }, guard.wrap(on_mode_changed) },
  { { 'CursorMoved', 'TextChanged', 'BufEnter' }, guard.wrap(on_idle) },
  { { 'BufFilePost', 'FileType' }, guard.wrap(on_renamed) },
  { { 'BufUnload' }, guard.wrap(on_unload) },
}

local CHANNEL_EVENTS = {
  { 'open', connect.on_open },
  { 'open', buffers.renew_all },
  { 'open', guard.later(send_cursor) },
  { 'open', guard.later(request.resume) },
  { 'awake', buffers.renew_all },
  { 'awake', guard.later(send_cursor) },
  { 'awake', guard.later(request.resume) },
  { 'ready', guard.later(request.resume) },
  { 'show', suggestion.receive },
  { 'silent', suggestion.on_lost },
  { 'lost', connect.on_lost },
  { 'lost', suggestion.on_lost },
  { 'exit', connect.set_after_exit },
  { 'refused', connect.on_refused },
}

--- Starts the plugin, once, after Neovim has started.
function M.start()
  local group = vim.api.nvim_create_augroup('llmd', {})
  for _, event in ipairs(EVENTS) do
    vim.api.nvim_create_autocmd(event[1], { group = group, callback = event[2] })
  end
  for _, event in ipairs(CHANNEL_EVENTS) do
    channel.on(event[1], event[2])
  end
  keys.map()
  on_idle()
end

return M
