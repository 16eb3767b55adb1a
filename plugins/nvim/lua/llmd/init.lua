--- Has what a user's configuration calls: `require('llmd')`.
local M = {}

--- Sets options, which `:help llmd-options` lists. The plugin also works without this call.
---@param options? llmd.Options
function M.setup(options)
  require('llmd.config').set(options or {})
end

--- Returns a few words for a statusline: `loading 40%`, `ready`, `thinking`, `off: …`.
---@return string
function M.statusline()
  return require('llmd.status').line()
end

--- Returns whether ghost text shows, for the user's own maps.
---@return boolean
function M.is_shown()
  return require('llmd.suggestion').rest() ~= nil
end

return M
