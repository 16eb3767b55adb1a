--- Puts a suggestion into the buffer as if it had been typed: pasted, since that is what Neovim
--- repeats with `.`; `llmd.keys` breaks the undo before and after.
local outcomes = require('llmd.outcomes')
local pieces = require('llmd.pieces')
local place = require('llmd.place')
local suggestion = require('llmd.suggestion')

local M = {}

---@param kind 'all'|'line'|'word'
function M.take(kind)
  local piece, is_all = suggestion.piece(pieces.take[kind])
  if not piece then
    return
  end
  local buf, from = suggestion.buf(), { place.cursor() }
  suggestion.take(piece, is_all)
  vim.api.nvim_paste(piece, false, -1)
  outcomes.accepted(buf, from, { place.cursor() }, piece)
  suggestion.changed()
end

return M
