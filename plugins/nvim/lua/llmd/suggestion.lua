--- The one suggestion: asked for at a place, coming in, on show, typed through, gone.
---
---   0 ms  a key; the change and the question go out (`ask`)
---   8 ms  the next key: what has come still fits and stays, or a newer question takes its place
---  20 ms  the first text (`receive`), for the place that was asked about: shown is what is left of
---         it after what was typed since
--- So nothing is shown for a text that is gone, and a late answer may still serve.
local buffers = require('llmd.buffers')
local channel = require('llmd.channel')
local config = require('llmd.config')
local ghost = require('llmd.ghost')
local stats = require('llmd.stats')
local partial_accept = require('llmd.partial_accept')
local cursor = require('llmd.cursor')
local request = require('llmd.request')

local M = {}

local current ---@type llmd.Suggestion?
local is_block = false -- visual-block insert: only what fits a line is repeated in the others
local pause = assert(vim.uv.new_timer())

--- What is left of the suggestion at the cursor; nil where it says nothing about this place.
local function left()
  if not current then
    return nil
  end
  local row, col = cursor.cursor()
  local typed = cursor.typed_since(current, row, col)
  if not typed then
    return nil
  end
  local rest = partial_accept.rest(current.text, typed, cursor.right_of(row, col), current.tail)
  return rest and is_block and rest:match('^[^\n]*') or rest
end

local function tell_shown()
  if current and current.is_shown and not current.is_told then
    current.is_told = true
    stats.note(current.buf, 'shown', current.text)
  end
end

--- Takes it off the screen, for good.
---@param kind 'rejected'|'dismissed'|'typed_through'|nil
function M.drop(kind)
  pause:stop()
  ghost.clear()
  local gone = current
  if not gone then
    return
  end
  tell_shown()
  current = nil
  if gone.is_shown and kind then
    stats.note(gone.buf, kind, gone.text:sub(gone.n_taken + 1))
  end
  if not gone.is_final and channel.is_up() then
    channel.send('cancel', { id = gone.id })
  end
end

local function render(rest)
  if rest == '' or not cursor.may_show() then
    return ghost.clear()
  end
  local row, col = cursor.cursor()
  ghost.show(current.buf, row, col, rest)
  current.is_shown = true
end

--- The text on show; nil where there is none.
---@return string?
function M.rest()
  local rest = cursor.may_show() and left() or ''
  return rest ~= '' and rest or nil
end

function M.is_waiting()
  return current ~= nil and not current.is_final
end

--- Asks for one at the cursor. What was on show has been dropped, or is an alternative's.
---@param how { invoked?: boolean, nth?: integer, others?: string[] }
local function ask(how)
  if not cursor.may_show() or config.off_reason(vim.api.nvim_get_current_buf()) then
    return
  end
  local asked = request.here(how.nth, how.others)
  current = request.send(asked, how.invoked or false) and asked or nil
end

--- After a pause in the typing, where one is set.
local function ask_soon()
  local debounce_ms = config.get('debounce_ms')
  if not config.get('auto') then
    return
  elseif debounce_ms <= 0 then
    return ask({})
  end
  pause:start(debounce_ms, 0, vim.schedule_wrap(function()
    ask({})
  end))
end

--- Something was typed, or the cursor moved, in insert mode: before the screen is drawn.
function M.changed()
  local rest = left()
  if rest and rest ~= '' then
    render(rest)
    if buffers.is_known(current.buf) then
      buffers.flush(current.buf)
    end
    return
  end
  local is_through = rest == '' and current and current.is_final and current.text ~= ''
  if current and rest == '' and not is_through and current.text == '' and M.is_here() then
    return -- asked for here; the answer is on its way, or there is none
  end
  M.drop_quietly(is_through and 'typed_through' or 'rejected')
  ask_soon()
end

--- Whether it was asked for at the cursor itself.
function M.is_here()
  local row, col = cursor.cursor()
  return current ~= nil and row == current.row and col == current.col
end

--- As `drop`, but a newer question follows, which ends the older by itself.
function M.drop_quietly(kind)
  if current then
    current.is_final = true
  end
  M.drop(kind)
end

--- By the key: also where it is not asked for by itself.
function M.trigger()
  M.drop_quietly('rejected')
  ask({ invoked = true })
end

local function show_other(nth)
  tell_shown()
  current.nth, current.text, current.is_final = nth, current.others[nth + 1], true
  render(left() or '')
end

--- The next (1) or the one before (-1) of the suggestions for this place.
---@param step 1|-1
function M.cycle(step)
  local rest = M.rest()
  if not rest or not current.is_final then
    return M.trigger()
  end
  local nth = math.max(current.nth + step, 0)
  if not M.is_here() then -- typed since: the alternatives are those of this place
    M.drop_quietly('rejected')
    return ask({ invoked = true, nth = nth, others = { rest } })
  end
  current.others[current.nth + 1] = current.text
  if current.others[nth + 1] then
    return show_other(nth)
  end
  local others, was = current.others, current
  tell_shown()
  ask({ invoked = true, nth = nth, others = others })
  if not current then
    current = was
  end
end

--- There is no other one: back to the best.
local function back_to_the_best()
  if current.others[1] then
    current.is_shown = false
    show_other(0)
  end
end

--- The daemon's answer to a question, in parts; each is the whole text so far.
function M.receive(id, _, _, _, text, is_final)
  if not current or current.id ~= id then
    return
  end
  current.is_final = is_final
  if is_final and text == '' and current.nth > 0 then
    return back_to_the_best()
  end
  current.text = text
  local rest = left()
  if rest and rest ~= '' then
    render(rest)
  else
    ghost.clear()
  end
  if is_final then
    tell_shown()
    vim.cmd.redrawstatus() -- it was `thinking`
  end
end

--- Gone with the daemon; the place is asked about again when there is another.
function M.lost()
  current = nil
  ghost.clear()
end

--- Unless one shows, or is on its way.
function M.again()
  if config.get('auto') and not M.is_waiting() and not M.rest() then
    ask({})
  end
end

--- Where `take` ends in what is on show, with what it takes. For `llmd.accept`.
---@param take fun(text: string): string
---@return string? piece
---@return boolean is_all
function M.piece(take)
  local rest = M.rest()
  if not rest then
    return nil, false
  end
  local piece = take(rest)
  return piece, piece == rest
end

function M.buf()
  return current and current.buf
end

--- A key takes this much of it.
function M.take(piece, is_all)
  tell_shown()
  current.n_taken = current.n_taken + #piece
  if is_all then
    M.drop_quietly(nil)
  end
end

function M.set_block(value)
  is_block = value
end

return M
