--- `:Llmd`.
local channel = require('llmd.channel')
local cli = require('llmd.cli')
local connect = require('llmd.connect')

local M = {}

--- Many lines go into a window: as a message they would stop the editor until a key is pressed.
local function show(lines)
  vim.cmd('botright ' .. math.min(#lines, 20) .. 'new')
  vim.bo.buftype, vim.bo.bufhidden, vim.bo.swapfile = 'nofile', 'wipe', false
  vim.api.nvim_buf_set_lines(0, 0, -1, false, lines)
  vim.bo.modifiable = false
  vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = true })
end

local function say(text)
  local lines = vim.split(vim.trim(text), '\n')
  if #lines > 1 or vim.fn.strdisplaywidth(lines[1]) > vim.v.echospace then
    return show(lines)
  end
  vim.api.nvim_echo({ { text } }, true, {})
end

--- `done`, where it has been done.
local function order(verb, done)
  cli.run({ verb }, function(text, problem)
    say(problem and 'llmd: ' .. problem or text ~= '' and text or 'llmd: done')
    if not problem then
      done()
    end
  end)
end

local actions = {}

--- What holds in this buffer, and what the command line says.
local function say_here(args)
  local here = 'here: ' .. require('llmd.status').line()
  cli.run(args, function(text, problem)
    say(here .. '\n' .. (problem or text))
  end)
end

function actions.status()
  say_here({ 'status' })
end

function actions.why()
  local name = vim.api.nvim_buf_get_name(0)
  say_here(name == '' and { 'why' } or { 'why', name })
end

function actions.start()
  order('start', channel.connect_anew)
end

--- One that was killed could not say that nobody wants it back.
function actions.stop()
  order('stop', function()
    connect.then_do('stay')
  end)
end

function actions.restart()
  order('restart', channel.connect_anew)
end

function actions.toggle()
  local is_on = vim.g.llmd_enabled == nil and require('llmd.config').get('enabled')
    or not vim.list_contains({ 0, false }, vim.g.llmd_enabled) and vim.g.llmd_enabled ~= nil
  vim.g.llmd_enabled = not is_on
  if is_on then
    require('llmd.suggestion').drop(nil)
  end
  vim.cmd.redrawstatus()
  say('llmd is ' .. (is_on and 'off' or 'on'))
end

function actions.log()
  cli.run({ 'path', 'log' }, function(path, problem)
    if problem then
      return say('llmd: ' .. problem)
    end
    vim.cmd('botright split ' .. vim.fn.fnameescape(path))
    vim.cmd('setlocal readonly nomodifiable autoread | normal! G')
  end)
end

local function names()
  local found = vim.tbl_keys(actions)
  table.sort(found)
  return found
end

function M.complete(lead)
  return vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, names())
end

---@param args string[]
function M.run(args)
  local action = actions[args[1] or 'status']
  if action then
    return action()
  end
  local text = 'llmd: `:Llmd %s` is unknown; there are %s'
  say(text:format(args[1], table.concat(names(), ', ')))
end

return M
