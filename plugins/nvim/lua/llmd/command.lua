--- Runs `:Llmd`. Most verbs run the `llmd` command in the background and show its output.
local cli = require('llmd.cli')
local config = require('llmd.config')
local connect = require('llmd.connect')
local request = require('llmd.request')
local status = require('llmd.status')
local window = require('llmd.window')

local M = {}

--- Shows a long text in a window: Neovim would wait for a key after a long message.
local function show(text)
  local lines = vim.split(vim.trim(text), '\n')
  if #lines > 1 or vim.fn.strdisplaywidth(lines[1]) > vim.v.echospace then
    return window.show(lines)
  end
  vim.api.nvim_echo({ { text } }, true, {})
end

local function answer(output, problem)
  if problem then
    return 'llmd: ' .. problem
  end
  return output ~= '' and output or 'llmd: done'
end

--- Runs a command and, when it has succeeded, `next_step`.
local function order(verb, next_step)
  cli.run({ verb }, function(output, problem)
    show(answer(output, problem))
    if not problem then
      next_step()
    end
  end)
end

local actions = {}

--- Shows the state in this buffer, and below it what the command prints.
local function show_here(args)
  local here = 'here: ' .. status.line()
  cli.run(args, function(output, problem)
    show(here .. '\n' .. (problem or output))
  end)
end

function actions.status()
  show_here({ 'status' })
end

function actions.why()
  local name = vim.api.nvim_buf_get_name(0)
  show_here(name == '' and { 'why' } or { 'why', name })
end

function actions.start()
  order('start', connect.reconnect)
end

--- Stops the daemon. A daemon that was killed could not say that the user stopped it.
function actions.stop()
  order('stop', function()
    connect.set_after_exit('stay')
  end)
end

function actions.restart()
  order('restart', connect.reconnect)
end

function actions.toggle()
  vim.g.llmd_enabled = not config.is_enabled()
  if not vim.g.llmd_enabled then
    request.stop(nil)
  end
  vim.cmd.redrawstatus()
  show('llmd is ' .. (vim.g.llmd_enabled and 'on' or 'off'))
end

function actions.log()
  cli.run({ 'path', 'log' }, function(path, problem)
    if problem then
      return show(answer(nil, problem))
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

---@param lead string
---@return string[]
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
  local text = 'llmd: `:Llmd %s` is unknown; expected %s'
  show(text:format(args[1], table.concat(names(), ', ')))
end

return M
