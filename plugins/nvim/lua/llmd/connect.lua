--- Finds the daemon, and starts one where none runs. Nothing here waits: a look that finds nobody
--- is followed by a later one.
local config = require('llmd.config')
local cli = require('llmd.cli')
local message = require('llmd.message')

local M = {}

local RETRY_MS = { 100, 200, 500, 1000, 2000, 5000, 10000 }

local path ---@type string?
local is_busy = false -- looking
local is_open = false -- found
local n_tries = 0
--- What the daemon that went said should follow: `restart`, `on_demand` (when it is wanted) or
--- `stay` (the user stopped it).
local next_ = 'restart'
local retry = assert(vim.uv.new_timer())

M.on_open = nil ---@type fun(channel: integer)
M.on_state = nil ---@type fun(state: string, reason: string)

local function try_socket()
  if is_open then
    return true
  end
  local ok, channel = pcall(vim.fn.sockconnect, 'pipe', path, { rpc = true })
  if not ok or channel == 0 then
    return false
  end
  is_busy, is_open, n_tries, next_ = false, true, 0, 'restart'
  M.on_open(channel)
  return true
end

local function failed(problem)
  if not is_open then
    M.on_state('failed', problem)
  end
  message.once(problem)
end

local function look_later()
  n_tries = math.min(n_tries + 1, #RETRY_MS)
  retry:start(RETRY_MS[n_tries], 0, vim.schedule_wrap(function()
    is_busy = false
    M.look()
  end))
end

--- Nothing that time alone mends.
local function look_much_later(problem)
  failed(problem)
  n_tries = #RETRY_MS
  look_later()
end

local function start_daemon()
  M.on_state('starting', '')
  cli.run({ 'start' }, function(_, problem)
    if problem then
      look_much_later(problem)
    elseif not try_socket() then
      look_later()
    end
  end)
end

local function reach()
  if try_socket() then
    return
  end
  if config.get('start') and next_ ~= 'stay' then
    start_daemon()
  else
    M.on_state('stopped', 'no daemon runs; `:Llmd start` starts it')
    look_later()
  end
end

--- Returns at once; `on_open` says that one was found.
function M.look()
  if is_busy or is_open then
    return
  end
  is_busy = true
  if path then
    return reach()
  end
  cli.run({ 'path', 'socket' }, function(text, problem)
    if problem then
      return look_much_later(problem)
    end
    path = text
    reach()
  end)
end

--- The user wants one now, whatever was before.
function M.look_anew()
  retry:stop()
  is_busy, next_, n_tries = false, 'restart', 0
  M.look()
end

--- The one that was found has gone.
function M.lost()
  M.on_state('connecting', '')
  is_open, is_busy = false, next_ ~= 'on_demand'
  if is_busy then
    look_later()
  end
end

---@param what 'restart'|'on_demand'|'stay'
function M.then_do(what)
  next_ = what
end

--- It does not take us, and will not.
function M.refused(problem)
  next_ = 'stay'
  M.on_state('failed', problem)
  message.once(problem)
end

return M
