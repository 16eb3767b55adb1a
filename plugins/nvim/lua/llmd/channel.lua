--- The RPC channel to the daemon. Notifications only: Neovim never waits.
---
--- A daemon that is stopped takes what it is sent until its buffer is full, and Neovim keeps the
--- rest. So when something was asked and no answer came for `SILENT_MS`, nothing more is sent; when
--- it speaks again, the buffers are sent whole.
local message = require('llmd.message')
local connect = require('llmd.connect')

local M = {}

local PROTOCOL = 1
-- After so long without a word it is asked for one, with the next message.
local QUIET_MS = 500
local SILENT_MS = 2000

--- The engine's state as the daemon tells it, and our own words before it has.
M.engine = { state = 'connecting', share = 0, reason = '' }

local id ---@type integer?
local is_silent = false
local heard_ms, asked_ms = 0, nil
local listeners = { show = {}, open = {}, lost = {}, ready = {} }

local function set_engine(state, share, reason)
  M.engine = { state = state, share = share, reason = reason }
end

--- `show`: a suggestion's text. `open`: the daemon knows no buffer of ours. `lost`: it has gone.
--- `ready`: the model is loaded, and was not before.
---@param name 'show'|'open'|'lost'|'ready'
function M.on(name, callback)
  table.insert(listeners[name], callback)
end

local function tell(name, ...)
  for _, callback in ipairs(listeners[name]) do
    callback(...)
  end
end

function M.is_up()
  return id ~= nil and not is_silent
end

local function now_ms()
  return vim.uv.now()
end

local function notify(name, params)
  local ok = pcall(vim.rpcnotify, id, name, params)
  if not ok then
    M.lose()
  end
  return ok
end

local function hello()
  local v = vim.version()
  local name = ('Neovim %d.%d.%d'):format(v.major, v.minor, v.patch)
  return notify('hello', { protocol = PROTOCOL, editor = name })
end

--- False where it owes us an answer for too long.
local function is_awake()
  local now = now_ms()
  if asked_ms then
    return now - asked_ms <= SILENT_MS
  end
  if now - heard_ms > QUIET_MS then
    asked_ms = now
    return hello()
  end
  return true
end

--- A silent daemon is sent nothing, so nothing else tells that it has gone.
local function lose_a_dead_one()
  local ok, info = pcall(vim.api.nvim_get_chan_info, id)
  if not ok or vim.tbl_isempty(info) then
    M.lose()
  end
end

--- False: nothing was sent.
---@param name string
---@param params table
---@return boolean
function M.send(name, params)
  if not M.is_up() then
    M.connect()
    return false
  end
  vim.uv.update_time()
  if not is_awake() then
    if id then
      is_silent = true
      set_engine('silent', 0, 'the daemon does not answer')
      tell('lost')
    end
    return false
  end
  return notify(name, params)
end

function connect.on_state(state, reason)
  set_engine(state, 0, reason)
end

function connect.on_open(channel)
  id, is_silent = channel, false
  heard_ms, asked_ms = now_ms(), now_ms()
  if hello() then
    tell('open')
  end
end

--- Looks for the daemon, and starts one where none runs. Returns at once.
function M.connect()
  if id then
    lose_a_dead_one()
  else
    connect.look()
  end
end

--- The user wants one now, whatever was before.
function M.connect_anew()
  if id then
    lose_a_dead_one()
  end
  connect.look_anew()
end

--- The connection has ended.
function M.lose()
  if not id then
    return
  end
  pcall(vim.fn.chanclose, id)
  id, asked_ms = nil, nil
  connect.lost()
  tell('lost')
end

local told = {}

function told.state(state, share, reason, problems)
  if state == 'gone' then
    connect.then_do(reason)
    return M.lose()
  elseif state == 'refused' then
    return connect.refused(problems[1])
  end
  local is_new = state == 'ready' and M.engine.state ~= 'ready'
  set_engine(state, share, reason)
  if is_new then
    tell('ready')
  end
  for _, problem in ipairs(problems) do
    message.once(problem)
  end
  if state == 'loading' and #problems == 0 then
    message.once('loading the model')
  end
  vim.cmd.redrawstatus()
end

function told.show(...)
  tell('show', ...)
end

--- The daemon calls it, with the name of a notification and its arguments.
function M.receive(name, ...)
  heard_ms, asked_ms = now_ms(), nil
  if is_silent then
    is_silent = false
    tell('open')
  end
  if told[name] then
    told[name](...)
  end
end

return M
