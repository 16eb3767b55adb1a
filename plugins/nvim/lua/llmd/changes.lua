--- Edits of a buffer, gathered into one. Pure: positions only, {row, col_bytes} from zero.
local M = {}

---@alias llmd.Place { [1]: integer, [2]: integer }

--- The text from `start` to `old_end` became that from `start` to `new_end`.
---@class llmd.Edit
---@field start llmd.Place
---@field old_end llmd.Place
---@field new_end llmd.Place

local function is_before(a, b)
  return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
end

--- Where a place at or behind `from` is once `from` has become `to`.
local function moved(place, from, to)
  if place[1] == from[1] then
    return { to[1], to[2] + place[2] - from[2] }
  end
  return { place[1] + to[1] - from[1], place[2] }
end

--- One edit for both: `later` is in the coordinates that `earlier` left.
---@param earlier llmd.Edit?
---@param later llmd.Edit
---@return llmd.Edit
function M.joined(earlier, later)
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
