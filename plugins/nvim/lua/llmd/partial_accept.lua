--- Computes how much of a suggestion a key takes, and what is left of a suggestion after typing.
local M = {}

local WORD = '[%w_\128-\255]'
local OTHER = '[^%w_%s\128-\255]'
local CLOSERS = '^[%)%]}>"\'`;]+$'

---@type table<'all'|'line'|'word', fun(text: string): string>
M.take = {}

function M.take.all(text)
  return text
end

--- Returns the rest of the first line, or the next line when the text begins with a newline.
function M.take.line(text)
  return text:match('^\n?[^\n]*')
end

--- Returns a word or a run of punctuation, with the blanks before it.
function M.take.word(text)
  return text:match('^%s*' .. WORD .. '+') or text:match('^%s*' .. OTHER .. '+') or text
end

--- Returns what is left of `text` after `typed`; nil when the user typed something else. An editor
--- may have closed brackets and quotes automatically: `right` then has them in addition to `tail`.
---@param text string
---@param typed string
---@param right string the text right of the cursor now
---@param tail string the text right of the cursor at the request
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
