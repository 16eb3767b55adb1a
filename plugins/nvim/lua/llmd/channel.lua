--- The RPC channel to the daemon. Notifications only: Neovim never waits.
---
--- A daemon that is stopped takes what it is sent until its buffer is full, and Neovim keeps the
--- rest. So when something was asked and no answer came for `SILENT_MS`, nothing more is sent; when
--- it speaks again, the buffers are sent whole.
local config = require('llmd.config')
local daemon = require('llmd.daemon')
local message = require('llmd.message')

local M = {}

local PROTOCOL = 1
-- After so long without a word it is asked for one, with the next message.
local QUIET_MS = 500
local SILENT_MS = 2000
local RETRY_MS = { 100, 200, 500, 1000, 2000, 5000, 10000 }

--- The engine's state as the daemon tells it, and our own words before it has.
M.engine = { state = 'connecting', share = 0, reason = '' }

local id, path
local is_connecting, is_silent = false, false
local heard_ms, asked_ms = 0, nil
local n_tries, then_ = 0, 'restart'
local listeners = { show = {}, open = {}, lost = {}, ready = {} }
local retry = assert(vim.uv.new_timer())

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

local function editor_name()
  local v = vim.version()
  return ('Neovim %d.%d.%d'):format(v.major, v.minor, v.patch)
end

--- False where it owes us an answer for too long.
local function is_awake()
  local now = now_ms()
  if asked_ms then
    return now - asked_ms <= SILENT_MS
  end
  if now - heard_ms > QUIET_MS then
    asked_ms = now
    return notify('hello', { protocol = PROTOCOL, editor = editor_name() })
  end
  return true
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
      M.engine = { state = 'silent', share = 0, reason = 'the daemon does not answer' }
      tell('lost')
    end
    return false
  end
  return notify(name, params)
end

local function use(channel)
  id, is_connecting, is_silent = channel, false, false
  n_tries, then_ = 0, 'restart'
  heard_ms, asked_ms = now_ms(), now_ms()
  if notify('hello', { protocol = PROTOCOL, editor = editor_name() }) then
    tell('open')
  end
end

local function try_socket()
  local ok, channel = pcall(vim.fn.sockconnect, 'pipe', path, { rpc = true })
  if ok and channel > 0 then
    use(channel)
  end
  return id ~= nil
end

local function give_up(problem)
  is_connecting = false
  M.engine = { state = 'failed', share = 0, reason = problem }
  message.once(problem)
end

local function try_later()
  n_tries = math.min(n_tries + 1, #RETRY_MS)
  retry:start(RETRY_MS[n_tries], 0, vim.schedule_wrap(function()
    is_connecting = false
    M.connect()
  end))
end

local function start_daemon()
  M.engine = { state = 'starting', share = 0, reason = '' }
  daemon.run({ 'start' }, function(_, problem)
    if problem then
      give_up(problem)
      n_tries = #RETRY_MS - 1
      is_connecting = true
      try_later()
    elseif not try_socket() then
      try_later()
    end
  end)
end

local function reach()
  if try_socket() then
    return
  end
  if config.get('start') and then_ ~= 'stay' then
    start_daemon()
  else
    M.engine = { state = 'stopped', share = 0, reason = 'no daemon runs; `:Llmd start` starts it' }
    try_later()
  end
end

--- Looks for the daemon, and starts one where none runs. Returns at once.
function M.connect()
  if id or is_connecting then
    return
  end
  is_connecting = true
  if path then
    return reach()
  end
  daemon.run({ 'path', 'socket' }, function(text, problem)
    if problem then
      return give_up(problem)
    end
    path = text
    reach()
  end)
end

--- The user wants one now, whatever was before.
function M.connect_anew()
  retry:stop()
  is_connecting, then_, n_tries = false, 'restart', 0
  M.connect()
end

--- The connection has ended.
function M.lose()
  if not id then
    return
  end
  pcall(vim.fn.chanclose, id)
  id, asked_ms = nil, nil
  M.engine = { state = 'connecting', share = 0, reason = '' }
  tell('lost')
  if then_ ~= 'on_demand' then
    is_connecting = true
    try_later()
  end
end

local told = {}

function told.state(state, share, reason, problems)
  if state == 'gone' then
    then_ = reason
    return M.lose()
  elseif state == 'refused' then
    then_ = 'stay'
    return give_up(problems[1])
  end
  local is_new = state == 'ready' and M.engine.state ~= 'ready'
  M.engine = { state = state, share = share, reason = reason }
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
