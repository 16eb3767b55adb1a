--- Merges the edits of a buffer into one. Positions are {row, byte column} and count from 0.
local M = {}

---@alias llmd.Position { [1]: integer, [2]: integer }

--- Says that the text from `start` to `old_end` was replaced by the text from `start` to `new_end`.
---@class llmd.Edit
---@field start llmd.Position
---@field old_end llmd.Position
---@field new_end llmd.Position

local function is_before(a, b)
  return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
end

--- Returns where a position at or behind `from` is after `from` has moved to `to`.
local function moved(position, from, to)
  if position[1] == from[1] then
    return { to[1], to[2] + position[2] - from[2] }
  end
  return { position[1] + to[1] - from[1], position[2] }
end

--- Returns one edit for two: the positions of `later` are those after `earlier`.
---@param earlier llmd.Edit?
---@param later llmd.Edit
---@return llmd.Edit
function M.merge(earlier, later)
  if not earlier then
    return later
  end
  local start = is_before(later.start, earlier.start) and later.start or earlier.start
  if is_before(earlier.new_end, later.old_end) then
    local old_end = moved(later.old_end, earlier.new_end, earlier.old_end)
    return { start = start, old_end = old_end, new_end = later.new_end }
  end
  local new_end = moved(earlier.new_end, later.old_end, later.new_end)
  return { start = start, old_end = earlier.old_end, new_end = new_end }
end

return M
