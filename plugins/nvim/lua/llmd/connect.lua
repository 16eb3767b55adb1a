--- Finds the daemon and starts one when none runs. Never waits: a timer repeats an attempt that
--- failed.
local channel = require('llmd.channel')
local cli = require('llmd.cli')
local config = require('llmd.config')
local engine = require('llmd.engine')
local message = require('llmd.message')

local M = {}

local RETRY_MS = { 100, 200, 500, 1000, 2000, 5000, 10000 }

local socket ---@type string?
local is_connecting = false
local n_attempts = 0
--- What follows when the daemon exits: `restart`, `on_demand` (a start when a completion is wanted)
--- or `stay` (the user stopped the daemon).
local after_exit = 'restart'
local retry_timer = assert(vim.uv.new_timer())

local function fail(problem)
  if not channel.is_open() then
    engine.set('failed', problem)
  end
  message.once(problem)
end

local function retry()
  n_attempts = math.min(n_attempts + 1, #RETRY_MS)
  retry_timer:start(RETRY_MS[n_attempts], 0, vim.schedule_wrap(function()
    is_connecting = false
    M.ensure()
  end))
end

--- Retries after the longest pause: the problem does not pass with time.
local function retry_late(problem)
  fail(problem)
  n_attempts = #RETRY_MS
  retry()
end

local function start_daemon()
  engine.set('starting')
  cli.run({ 'start' }, function(_, problem)
    if problem then
      retry_late(problem)
    elseif not channel.open(socket) then
      retry()
    end
  end)
end

local function open()
  if channel.open(socket) then
    return
  end
  if config.get('start') and after_exit ~= 'stay' then
    start_daemon()
  else
    engine.set('stopped', 'no daemon runs; `:Llmd start` starts it')
    retry()
  end
end

--- Connects unless an attempt is already under way; closes a connection that has ended.
function M.ensure()
  if channel.is_open() then
    return channel.close_if_dead()
  elseif is_connecting then
    return
  end
  is_connecting = true
  if socket then
    return open()
  end
  cli.run({ 'path', 'socket' }, function(output, problem)
    if problem then
      return retry_late(problem)
    end
    socket = output
    open()
  end)
end

--- Connects at once, also to a daemon that the user had stopped.
function M.reconnect()
  if channel.is_open() then
    channel.close_if_dead()
  end
  retry_timer:stop()
  is_connecting, after_exit, n_attempts = false, 'restart', 0
  M.ensure()
end

function M.on_open()
  is_connecting, after_exit, n_attempts = false, 'restart', 0
end

function M.on_lost()
  engine.set('connecting')
  is_connecting = after_exit ~= 'on_demand'
  if is_connecting then
    retry()
  end
end

--- Sets what follows when the daemon exits.
---@param what 'restart'|'on_demand'|'stay'
function M.set_after_exit(what)
  after_exit = what
end

--- Gives up: the daemon does not serve this editor, and will not.
---@param problem string
function M.on_refused(problem)
  after_exit = 'stay'
  engine.set('failed', problem)
  message.once(problem)
end

return M
