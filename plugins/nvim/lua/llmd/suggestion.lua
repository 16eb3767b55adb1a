--- Keeps the one suggestion: shows what comes of it, shortens it as the user types it, removes it.
---
---   0 ms  a key: the change and the request are sent (`request.changed`)
---   8 ms  the next key: ghost text stays if it still fits, else a newer request replaces it
---  20 ms  the first text for the position of the request (`receive`): what the user typed since
---         is cut off, and the rest is shown
--- So ghost text always fits the text before it, and a late answer may still be of use.
local channel = require('llmd.channel')
local cursor = require('llmd.cursor')
local ghost = require('llmd.ghost')
local partial_accept = require('llmd.partial_accept')
local stats = require('llmd.stats')

local M = {}

---@class llmd.Suggestion
---@field id integer the request's id
---@field buf integer
---@field row integer of the position that was asked about
---@field col integer in bytes
---@field tail string the text right of that position
---@field text string all that has come so far
---@field is_final boolean whether no more text will come
---@field is_shown boolean whether it has been on the screen
---@field is_counted boolean whether the daemon knows that it has been shown
---@field n_taken integer the bytes that a key took
---@field nth integer the index of the alternative; 0 is the best one
---@field others string[] the alternatives that have come for this position, the best one first

local current ---@type llmd.Suggestion?
local is_block = false

--- Returns what is left of the suggestion at the cursor; nil when it does not fit there.
---@return string?
local function left()
  if not current then
    return nil
  end
  local row, col = cursor.position()
  local typed = cursor.typed_since(current, row, col)
  if not typed then
    return nil
  end
  local rest = partial_accept.rest(current.text, typed, cursor.right_of(row, col), current.tail)
  return rest and is_block and rest:match('^[^\n]*') or rest
end

--- Counts each suggestion once: when its text is complete, or when the suggestion is removed.
local function count_shown()
  if current and current.is_shown and not current.is_counted then
    current.is_counted = true
    stats.send(current.buf, 'shown', current.text)
  end
end

local function render(rest)
  if rest == '' or not cursor.may_show() then
    return ghost.clear()
  end
  local row, col = cursor.position()
  ghost.show(current.buf, row, col, rest)
  current.is_shown = true
end

--- Returns the ghost text that shows; nil when none shows.
---@return string?
function M.rest()
  local rest = cursor.may_show() and left() or ''
  return rest ~= '' and rest or nil
end

---@return llmd.Suggestion?
function M.get()
  return current
end

---@param asked llmd.Suggestion?
function M.set(asked)
  current = asked
end

--- Returns whether more text has still to come.
---@return boolean
function M.is_waiting()
  return current ~= nil and not current.is_final
end

--- Returns whether the cursor is at the position that was asked about.
---@return boolean
function M.is_here()
  local row, col = cursor.position()
  return current ~= nil and row == current.row and col == current.col
end

--- Limits suggestions to one line in a visual-block insert: Neovim repeats only the first line of
--- an insert in the other lines of the block.
---@param value boolean
function M.set_block(value)
  is_block = value
end

--- Removes the suggestion and cancels its request.
---@param kind 'rejected'|'dismissed'|'typed_through'|nil what became of the suggestion
function M.drop(kind)
  ghost.clear()
  local dropped = current
  if not dropped then
    return
  end
  count_shown()
  current = nil
  if dropped.is_shown and kind then
    stats.send(dropped.buf, kind, dropped.text:sub(dropped.n_taken + 1))
  end
  if not dropped.is_final and channel.is_up() then
    channel.send('cancel', { id = dropped.id })
  end
end

--- Removes the suggestion without cancelling its request: a newer request does that.
---@param kind 'rejected'|'typed_through'|nil
function M.supersede(kind)
  if current then
    current.is_final = true
  end
  M.drop(kind)
end

--- Removes the suggestion when its request is lost with the connection.
function M.on_lost()
  current = nil
  ghost.clear()
end

--- Adapts the ghost text to what was typed. Returns `shown` when some of the ghost text is left,
--- `typed` when the user has typed all of it, `waiting` when nothing has come for this position
--- yet, and `gone` when there is no suggestion for this position.
---@return 'shown'|'typed'|'waiting'|'gone'
function M.type_through()
  local rest = left()
  if rest and rest ~= '' then
    render(rest)
    return 'shown'
  elseif not current or not rest then
    return 'gone'
  elseif current.is_final and current.text ~= '' then
    return 'typed'
  end
  return current.text == '' and M.is_here() and 'waiting' or 'gone'
end

--- Notes that a key takes a piece of the suggestion.
---@param piece string
---@param is_all boolean whether nothing is left
function M.take(piece, is_all)
  count_shown()
  current.n_taken = current.n_taken + #piece
  if is_all then
    M.supersede(nil)
  end
end

-- alternatives

local function show_alternative(nth)
  count_shown()
  current.nth, current.text, current.is_final = nth, current.others[nth + 1], true
  render(left() or '')
end

--- Shows an alternative that has already come. Returns false when that one has not.
---@param nth integer
---@return boolean
function M.choose(nth)
  current.others[current.nth + 1] = current.text
  if current.others[nth + 1] then
    show_alternative(nth)
    return true
  end
  count_shown()
  return false
end

--- Shows the best alternative again, since there are no more.
local function show_best()
  if current.others[1] then
    current.is_shown = false
    show_alternative(0)
  end
end

--- Takes a part of the daemon's answer; `text` is all that has come so far.
---@param id integer
---@param text string
---@param is_final boolean
function M.receive(id, _, _, _, text, is_final)
  if not current or current.id ~= id then
    return
  end
  current.is_final = is_final
  if is_final and text == '' and current.nth > 0 then
    return show_best()
  end
  current.text = text
  render(left() or '')
  if is_final then
    count_shown()
    vim.cmd.redrawstatus() -- the status line said `thinking`
  end
end

return M
