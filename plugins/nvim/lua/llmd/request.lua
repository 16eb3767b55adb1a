--- A suggestion from its question on: what is asked of the daemon, and what is kept of it.
local buffers = require('llmd.buffers')
local channel = require('llmd.channel')
local cursor = require('llmd.cursor')

local M = {}

---@class llmd.Suggestion
---@field id integer
---@field buf integer
---@field row integer where it was asked for
---@field col integer in bytes
---@field tail string what stood right of it
---@field text string so far
---@field is_final boolean
---@field is_shown boolean it was on the screen
---@field is_told boolean the daemon knows that it was
---@field n_taken integer bytes of it that a key took
---@field nth integer 0 is the best
---@field others string[] those seen at this place; the best is the first

local last_id = 0

--- For the cursor's place.
---@param nth? integer
---@param others? string[]
---@return llmd.Suggestion
function M.here(nth, others)
  local row, col = cursor.cursor()
  last_id = last_id + 1
  return {
    id = last_id, buf = vim.api.nvim_get_current_buf(), row = row, col = col,
    tail = cursor.right_of(row, col), text = '', is_final = false, is_shown = false,
    is_told = false, n_taken = 0, nth = nth or 0, others = others or {},
  } -- stylua: ignore
end

--- False: it was not asked.
---@param asked llmd.Suggestion
---@param invoked boolean by the key
---@return boolean
function M.send(asked, invoked)
  local version = buffers.flush(asked.buf)
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

return M
