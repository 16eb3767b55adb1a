--- Maps the default keys, and says what each key does. A key does what it did before llmd mapped it
--- when no suggestion shows.
local config = require('llmd.config')
local suggestion = require('llmd.suggestion')

local M = {}

M.defaults = {
  accept = '<Tab>',
  ['accept-line'] = '<M-C-Right>',
  ['accept-word'] = '<M-Right>',
  next = '<M-]>',
  prev = '<M-[>',
  dismiss = '<C-]>',
  trigger = '<M-\\>',
}

local function plug(name)
  return '<Plug>(llmd-' .. name .. ')'
end

local function raw(keys)
  return vim.api.nvim_replace_termcodes(keys, true, true, true)
end

local function lua(call)
  return '<Cmd>lua ' .. call .. '<CR>'
end

local take = '<C-G>u' .. lua("require('llmd.accept').take('%s')") .. '<C-G>u'
local ask = lua("require('llmd.request').%s")

--- By action, the keys that do it: a map's expression must not change the text.
local keys_of = {
  accept = take:format('all'),
  ['accept-line'] = take:format('line'),
  ['accept-word'] = take:format('word'),
  next = ask:format('cycle(1)'),
  prev = ask:format('cycle(-1)'),
  dismiss = ask:format("stop('dismissed')"),
  trigger = ask:format('trigger()'),
}

--- Returns the keys for when no suggestion shows: the old map, or the key itself.
local function fallback(name)
  return raw('<Plug>(llmd-else-' .. name .. ')')
end

--- Returns the keys that a `<Plug>` map stands for now.
---@param name string
---@return string
function M.pressed(name)
  if name == 'trigger' or suggestion.rest() then
    return raw('<Plug>(llmd-do-' .. name .. ')')
  end
  return fallback(name)
end

--- Returns the global map of a key; maparg() finds a buffer's own map first.
local function global_map(key)
  local found = vim.fn.maparg(key, 'i', false, true)
  if found.buffer ~= 1 then
    return found
  end
  for _, map in ipairs(vim.api.nvim_get_keymap('i')) do
    if map.lhsraw == found.lhsraw then
      return map
    end
  end
  return {}
end

--- Keeps the old map, with all its attributes, under another name as the fallback.
local function keep_old_map(name, key)
  local lhs = '<Plug>(llmd-else-' .. name .. ')'
  local old = global_map(key)
  if vim.tbl_isempty(old) then
    if not key:find('^<M%-.>$') then -- `<M-]>` would type `]`
      vim.keymap.set('i', lhs, key)
    end
    return
  end
  old.lhs, old.lhsraw, old.lhsrawalt = lhs, raw(lhs), nil
  vim.fn.mapset('i', false, old)
end

--- Maps each default key, unless the user has mapped another key to the action.
function M.map()
  for name, keys in pairs(keys_of) do
    vim.keymap.set('i', '<Plug>(llmd-do-' .. name .. ')', keys)
    vim.keymap.set('i', '<Plug>(llmd-else-' .. name .. ')', '<Nop>')
  end
  if not config.get('maps') then
    return
  end
  for name, key in pairs(M.defaults) do
    if vim.fn.hasmapto(plug(name), 'i') == 0 then
      keep_old_map(name, key)
      vim.keymap.set('i', key, plug(name), { remap = true, desc = 'llmd: ' .. name })
    end
  end
end

return M
