--- Holds the RPC channel to the daemon. Sends notifications only, so that Neovim never waits.
---
--- A stopped daemon takes messages until its buffer is full, and Neovim keeps the rest in memory. So
--- nothing is sent to a silent daemon (see `llmd.heartbeat`). The daemon's next message ends the
--- silence, and every buffer is then sent again.
local engine = require('llmd.engine')
local heartbeat = require('llmd.heartbeat')

local M = {}

local PROTOCOL = 1

--- The state for the statusline, for `:checkhealth` and for `llmd doctor`.
M.engine = engine.current

local id ---@type integer?
local is_silent = false
local listeners = {} ---@type table<string, fun(...)[]>

--- Calls back on an event. `open`: the daemon is connected. `awake`: a silent daemon has answered.
--- `silent`: the daemon does not answer. `lost`: the connection has ended. `show`: the text of a
--- suggestion. `ready`: the model has just become ready. `exit`: the daemon exits, and says what
--- follows. `refused`: the daemon does not serve this editor, with the reason.
---@param name 'open'|'awake'|'silent'|'lost'|'show'|'ready'|'exit'|'refused'
---@param callback fun(...)
function M.on(name, callback)
  listeners[name] = listeners[name] or {}
  table.insert(listeners[name], callback)
end

local function emit(name, ...)
  for _, callback in ipairs(listeners[name] or {}) do
    callback(...)
  end
end

---@return boolean
function M.is_open()
  return id ~= nil
end

--- Returns whether a message would be sent.
---@return boolean
function M.is_up()
  return id ~= nil and not is_silent
end

local function notify(name, params)
  local ok = pcall(vim.rpcnotify, id, name, params)
  if not ok then
    M.close()
  end
  return ok
end

--- Sends the editor's name. The daemon answers at once, so this message is also the ping.
local function hello()
  local v = vim.version()
  local name = ('Neovim %d.%d.%d'):format(v.major, v.minor, v.patch)
  return notify('hello', { protocol = PROTOCOL, editor = name })
end

local function became_silent()
  is_silent = true
  engine.set('silent', 'the daemon does not answer')
  emit('silent')
end

--- Returns false when nothing was sent.
---@param name string
---@param params table
---@return boolean
function M.send(name, params)
  if not M.is_up() then
    return false
  elseif heartbeat.is_silent() then
    became_silent()
    return false
  elseif heartbeat.is_due() and not hello() then
    return false
  end
  return notify(name, params)
end

--- Opens the channel. Returns false when no daemon listens at that socket.
---@param socket string
---@return boolean
function M.open(socket)
  if id then
    return true
  end
  local ok, opened = pcall(vim.fn.sockconnect, 'pipe', socket, { rpc = true })
  if not ok or opened == 0 then
    return false
  end
  id, is_silent = opened, false
  heartbeat.reset()
  if hello() then
    emit('open')
  end
  return true
end

--- Closes the channel after the connection has ended.
function M.close()
  if not id then
    return
  end
  pcall(vim.fn.chanclose, id)
  id = nil
  emit('lost')
end

--- Closes the channel if the connection has ended: a silent daemon is sent nothing, so that no
--- failing message shows the end.
function M.close_if_dead()
  local ok, info = pcall(vim.api.nvim_get_chan_info, id or 0)
  if not ok or vim.tbl_isempty(info) then
    M.close()
  end
end

local handlers = {} ---@type table<string, fun(...)>

function handlers.state(state, share, reason, problems)
  if state == 'gone' then
    emit('exit', reason)
    M.close()
  elseif state == 'refused' then
    emit('refused', problems[1])
  elseif engine.update(state, share, reason, problems) then
    emit('ready')
  end
end

function handlers.show(...)
  emit('show', ...)
end

--- Handles a notification of the daemon, which calls this function with the name and the arguments.
---@param name string
function M.receive(name, ...)
  heartbeat.heard()
  if is_silent then
    is_silent = false
    emit('awake')
  end
  if handlers[name] then
    handlers[name](...)
  end
end

return M
