--- What each key does: with a suggestion on show its own, else what it did before.
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
local ask = lua("require('llmd.suggestion').%s")

--- Done by keys: a map's expression may not change the text.
local done_by = {
  accept = take:format('all'),
  ['accept-line'] = take:format('line'),
  ['accept-word'] = take:format('word'),
  next = ask:format('cycle(1)'),
  prev = ask:format('cycle(-1)'),
  dismiss = ask:format("drop('dismissed')"),
  trigger = ask:format('trigger()'),
}

--- The keys' own meaning where nothing is shown: the map that was there, or the key itself.
local function fall_back(name)
  return raw('<Plug>(llmd-else-' .. name .. ')')
end

---@param name string
---@return string keys
function M.pressed(name)
  if name == 'trigger' or suggestion.rest() then
    return raw('<Plug>(llmd-do-' .. name .. ')')
  end
  return fall_back(name)
end

--- A map of the first buffer's own is there as well, and goes before ours.
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

local function keep_older_map(name, key)
  local lhs = '<Plug>(llmd-else-' .. name .. ')'
  local older = global_map(key)
  if vim.tbl_isempty(older) then
    if not key:find('^<M%-.>$') then -- which would type its sign
      vim.keymap.set('i', lhs, key)
    end
    return
  end
  older.lhs, older.lhsraw, older.lhsrawalt = lhs, raw(lhs), nil
  vim.fn.mapset('i', false, older)
end

--- A key that the user has given to a `<Plug>` of ours is left to him.
function M.map()
  for name, keys in pairs(done_by) do
    vim.keymap.set('i', '<Plug>(llmd-do-' .. name .. ')', keys)
    vim.keymap.set('i', '<Plug>(llmd-else-' .. name .. ')', '<Nop>')
  end
  if not require('llmd.config').get('maps') then
    return
  end
  for name, key in pairs(M.defaults) do
    if vim.fn.hasmapto(plug(name), 'i') == 0 then
      keep_older_map(name, key)
      vim.keymap.set('i', key, plug(name), { remap = true, desc = 'llmd: ' .. name })
    end
  end
end

return M
