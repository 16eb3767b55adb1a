--- How much of a suggestion a key takes, and what is left of one after typing. Pure.
local M = {}

local WORD = '[%w_\128-\255]'
local OTHER = '[^%w_%s\128-\255]'
local CLOSERS = '^[%)%]}>"\'`;]+$'

M.take = {}

function M.take.all(text)
  return text
end

--- To the end of its first line; of the next one where nothing is left of that.
function M.take.line(text)
  return text:match('^\n?[^\n]*')
end

--- A word or a run of signs, with the blanks before it.
function M.take.word(text)
  return text:match('^%s*' .. WORD .. '+') or text:match('^%s*' .. OTHER .. '+') or text
end

--- What is still to be shown of `text` after `typed`; nil where something else was typed.
--- `right` is what stands right of the cursor, `tail` what stood there when the text was asked for:
--- brackets and quotes that an editor closed by itself may have come between.
---@return string?
function M.rest(text, typed, right, tail)
  if text:sub(1, #typed) ~= typed then
    return nil
  end
  local rest = text:sub(#typed + 1)
  if right == tail then
    return rest
  elseif #right <= #tail then
    return nil
  end
  local closers = right:sub(1, #right - #tail)
  if right:sub(#right - #tail + 1) ~= tail or not closers:find(CLOSERS) then
    return nil
  end
  return rest:sub(-#closers) == closers and rest:sub(1, #rest - #closers) or nil
end

return M
