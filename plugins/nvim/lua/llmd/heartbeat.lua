--- Measures how long the daemon has been silent.
---
--- After `QUIET_MS` without a message the daemon is pinged, together with the next message. A
--- daemon that has not answered the ping after `SILENT_MS` is silent.
local M = {}

local QUIET_MS = 500
local SILENT_MS = 2000

local heard_ms = 0
local pinged_ms ---@type integer? the time of the ping that has not been answered

--- Starts again for a new connection, whose first message counts as a ping.
function M.reset()
  heard_ms = vim.uv.now()
  pinged_ms = heard_ms
end

--- Notes that the daemon has sent something.
function M.heard()
  heard_ms = vim.uv.now()
  pinged_ms = nil
end

--- Returns whether to ping the daemon now; the caller then sends the ping.
---@return boolean
function M.is_due()
  vim.uv.update_time()
  if pinged_ms or vim.uv.now() - heard_ms <= QUIET_MS then
    return false
  end
  pinged_ms = vim.uv.now()
  return true
end

---@return boolean
function M.is_silent()
  vim.uv.update_time()
  return pinged_ms ~= nil and vim.uv.now() - pinged_ms > SILENT_MS
end

return M
