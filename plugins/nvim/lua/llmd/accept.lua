--- Puts a suggestion into the buffer as if it had been typed: pasted, since that is what Neovim
--- repeats with `.`; `llmd.keys` breaks the undo before and after.
local stats = require('llmd.stats')
local partial_accept = require('llmd.partial_accept')
local cursor = require('llmd.cursor')
local suggestion = require('llmd.suggestion')

local M = {}

---@param kind 'all'|'line'|'word'
function M.take(kind)
  local piece, is_all = suggestion.piece(partial_accept.take[kind])
  if not piece then
    return
  end
  local buf, from = suggestion.buf(), { cursor.cursor() }
  suggestion.take(piece, is_all)
  vim.api.nvim_paste(piece, false, -1)
  stats.accepted(buf, from, { cursor.cursor() }, piece)
  suggestion.changed()
end

return M
