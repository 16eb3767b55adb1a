--- What a user's configuration calls.
local M = {}

--- Changes options; everything works without it. `:help llmd-options` lists them.
---@param options table<string, any>
function M.setup(options)
  require('llmd.config').set(options or {})
end

--- For a statusline: `loading 40%`, `ready`, `thinking`, `off: …`.
---@return string
function M.statusline()
  return require('llmd.status').line()
end

--- Whether ghost text is on show, for maps of one's own.
---@return boolean
function M.is_shown()
  return require('llmd.suggestion').rest() ~= nil
end

return M
