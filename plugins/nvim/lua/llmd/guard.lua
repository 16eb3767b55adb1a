--- Runs the plugin's handlers so that an error in one of them is reported once and does not disturb
--- typing.
local message = require('llmd.message')

local M = {}

--- Wraps a handler.
---@param handler fun(...)
---@return fun(...)
function M.wrap(handler)
  return function(...)
    local ok, problem = pcall(handler, ...)
    if not ok then
      message.once('error in the plugin: ' .. tostring(problem))
    end
  end
end

--- Wraps a handler that is to run after the event that is being handled.
---@param handler fun(...)
---@return fun(...)
function M.later(handler)
  return vim.schedule_wrap(M.wrap(handler))
end

return M
