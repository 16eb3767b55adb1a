--- Asks the daemon for suggestions at the cursor.
local buffers = require('llmd.buffers')
local channel = require('llmd.channel')
local config = require('llmd.config')
local cursor = require('llmd.cursor')
local guard = require('llmd.guard')
local suggestion = require('llmd.suggestion')

local M = {}

local last_id = 0
local debounce_timer = assert(vim.uv.new_timer())

--- Says how to ask. `invoked`: whether the user pressed the key. `nth`: for which alternative.
--- `others`: the alternatives that have come.
---@class llmd.Ask
---@field invoked? boolean
---@field nth? integer
---@field others? string[]

--- Returns a suggestion without text for the cursor's position.
---@param how llmd.Ask
---@return llmd.Suggestion
local function new_suggestion(how)
  local row, col = cursor.position()
  last_id = last_id + 1
  return {
    id = last_id,
    buf = vim.api.nvim_get_current_buf(),
    row = row,
    col = col,
    tail = cursor.right_of(row, col),
    text = '',
    is_final = false,
    is_shown = false,
    is_counted = false,
    n_taken = 0,
    nth = how.nth or 0,
    others = how.others or {},
  }
end

--- Returns false when nothing was sent.
---@param asked llmd.Suggestion
---@param invoked boolean
---@return boolean
local function send(asked, invoked)
  local version = buffers.sync(asked.buf)
  if not version then
    return false
  end
  return channel.send('complete', {
    id = asked.id,
    buf = asked.buf,
    version = version,
    row = asked.row,
    col_bytes = asked.col,
    invoked = invoked,
    alternative = asked.nth,
  })
end

--- Asks for a suggestion at the cursor. The caller has removed the one before.
---@param how llmd.Ask
local function ask(how)
  if not cursor.may_show() or config.off_reason(vim.api.nvim_get_current_buf()) then
    return
  end
  local asked = new_suggestion(how)
  suggestion.set(send(asked, how.invoked or false) and asked or nil)
end

--- Asks as the user types: at once, or after `g:llmd_debounce_ms`.
local function ask_soon()
  local debounce_ms = config.get('debounce_ms')
  if not config.get('auto') then
    return
  elseif debounce_ms <= 0 then
    return ask({})
  end
  debounce_timer:start(debounce_ms, 0, guard.later(function()
    ask({})
  end))
end

local function supersede(kind)
  debounce_timer:stop()
  suggestion.supersede(kind)
end

--- Removes the suggestion and cancels its request.
---@param kind 'rejected'|'dismissed'|nil what became of the suggestion
function M.stop(kind)
  debounce_timer:stop()
  suggestion.drop(kind)
end

--- Handles typing and cursor movement in Insert mode, before Neovim draws the screen.
function M.changed()
  local found = suggestion.type_through()
  if found == 'shown' then
    local buf = suggestion.get().buf
    if buffers.is_known(buf) then
      buffers.sync(buf)
    end
  elseif found ~= 'waiting' then
    supersede(found == 'typed' and 'typed_through' or 'rejected')
    ask_soon()
  end
end

--- Asks because the user pressed the key.
function M.trigger()
  supersede('rejected')
  ask({ invoked = true })
end

--- Asks for another alternative, and keeps the suggestion when nothing was sent.
local function ask_alternative(nth)
  local before = suggestion.get()
  ask({ invoked = true, nth = nth, others = before.others })
  if not suggestion.get() then
    suggestion.set(before)
  end
end

--- Shows the next (1) or the previous (-1) alternative for this position.
---@param step 1|-1
function M.cycle(step)
  local rest = suggestion.rest()
  if not rest or suggestion.is_waiting() then
    return M.trigger()
  end
  local nth = math.max(suggestion.get().nth + step, 0)
  if not suggestion.is_here() then -- the user has typed since: the alternatives are for here
    supersede('rejected')
    return ask({ invoked = true, nth = nth, others = { rest } })
  end
  if not suggestion.choose(nth) then
    ask_alternative(nth)
  end
end

--- Asks again once the daemon is connected and its model is ready.
function M.resume()
  if config.get('auto') and not suggestion.is_waiting() and not suggestion.rest() then
    ask({})
  end
end

return M
