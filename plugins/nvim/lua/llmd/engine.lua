--- Keeps the state of the model's engine as the daemon last reported it, and before that the state
--- of the connection.
local message = require('llmd.message')

local M = {}

--- Stays the same table: `llmd.channel` has a reference to it.
---@class llmd.Engine
---@field state string
---@field share number the loaded share of the model
---@field reason string
M.current = { state = 'connecting', share = 0, reason = '' }

---@param state string
---@param reason? string
---@param share? number
function M.set(state, reason, share)
  M.current.state = state
  M.current.reason = reason or ''
  M.current.share = share or 0
end

--- Takes over a report and shows its problems. Returns whether the engine has just become ready.
---@param state string
---@param share number
---@param reason string
---@param problems string[]
---@return boolean
function M.update(state, share, reason, problems)
  local was_ready = M.current.state == 'ready'
  M.set(state, reason, share)
  for _, problem in ipairs(problems) do
    message.once(problem)
  end
  if state == 'loading' and #problems == 0 then
    message.once('loading the model')
  end
  vim.cmd.redrawstatus()
  return state == 'ready' and not was_ready
end

return M
