--- Says in one line what llmd does in the current buffer.
local channel = require('llmd.channel')
local config = require('llmd.config')
local suggestion = require('llmd.suggestion')

local M = {}

--- Returns for example `loading 40%`, `ready`, `thinking` or `off: filetype`.
---@return string
function M.line()
  local reason = config.off_reason(vim.api.nvim_get_current_buf())
  if reason then
    return 'off: ' .. reason
  end
  local engine = channel.engine
  if engine.state == 'loading' then
    return ('loading %d%%'):format(100 * engine.share + 0.5)
  elseif engine.state == 'ready' and suggestion.is_waiting() then
    return 'thinking'
  elseif engine.reason ~= '' and engine.state ~= 'ready' then
    return engine.state .. ': ' .. engine.reason
  end
  return engine.state
end

return M
