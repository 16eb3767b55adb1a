--- Inserts a suggestion by a paste, which Neovim treats as typed text and repeats with `.`. The
--- keys around the call (see `llmd.keys`) begin a new undo step before and after.
local cursor = require('llmd.cursor')
local partial_accept = require('llmd.partial_accept')
local request = require('llmd.request')
local stats = require('llmd.stats')
local suggestion = require('llmd.suggestion')

local M = {}

--- Inserts a part of the suggestion.
---@param kind 'all'|'line'|'word'
function M.take(kind)
  local rest = suggestion.rest()
  if not rest then
    return
  end
  local piece = partial_accept.take[kind](rest)
  local buf = suggestion.get().buf
  local from = { cursor.position() }
  suggestion.take(piece, piece == rest)
  vim.api.nvim_paste(piece, false, -1)
  stats.accepted(buf, from, { cursor.position() }, piece)
  request.changed()
end

return M
