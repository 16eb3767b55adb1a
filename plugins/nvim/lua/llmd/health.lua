--- Reports for `:checkhealth llmd` what works, and how to fix what does not.
local channel = require('llmd.channel')
local config = require('llmd.config')
local cli = require('llmd.cli')
local keys = require('llmd.keys')

local M = {}

--- Returns the result of a command; nil when there is no such command.
local function ran(args)
  local ok, process = pcall(vim.system, cli.argv(args), { text = true, timeout = 5000 })
  return ok and process:wait() or nil
end

local function check_command()
  local path = cli.argv({})[1]
  local found = ran({ '--version' })
  if not found then
    vim.health.error(cli.not_found(path), {
      'Install llmd, for instance with `pipx install llmd`',
      "Or set the command's path: require('llmd').setup{ command = '/path/to/llmd' }",
    })
    return false
  end
  local is_from_path = vim.fn.exepath(vim.fs.basename(path)) == path
  local from = is_from_path and '' or ', which is not from PATH'
  vim.health.ok(('%s is %s%s'):format(vim.trim(found.stdout), path, from))
  return true
end

local ADVICE = {
  failed = { 'Read `:Llmd log`', 'Then `:Llmd restart`' },
  stopped = { 'Run `:Llmd start`' },
  silent = { 'Run `:Llmd stop`, then `:Llmd start`' },
}

--- Asks a daemon that reported to be ready: a daemon that has crashed or is stopped cannot
--- report anything.
local function check_answer(text)
  local asked = ran({ 'status' })
  if asked and asked.code ~= 0 then
    vim.health.error(vim.trim(asked.stderr), ADVICE.silent)
  else
    vim.health.ok(text)
  end
end

local function check_daemon()
  local engine = channel.engine
  local text = ('The daemon is %s'):format(engine.state)
  if engine.reason ~= '' then
    text = text .. ': ' .. engine.reason
  end
  if engine.state == 'ready' then
    check_answer(text)
  elseif ADVICE[engine.state] then
    vim.health.error(text, ADVICE[engine.state])
  else
    vim.health.warn(text, { 'Open a file, wait a moment and check again', 'See `:Llmd status`' })
  end
end

local function check_keys()
  for name, key in pairs(keys.defaults) do
    local plug = '<Plug>(llmd-' .. name .. ')'
    if vim.fn.hasmapto(plug, 'i') == 0 then
      vim.health.warn(('No key is mapped to `%s`'):format(plug), {
        ("vim.keymap.set('i', '%s', '%s')"):format(key, plug),
      })
    end
  end
  local owner = vim.fn.maparg('<Tab>', 'i')
  if not owner:find('llmd', 1, true) and config.get('maps') then
    vim.health.warn('<Tab> is mapped by something else', {
      "Map another key to accept: vim.keymap.set('i', '<C-J>', '<Plug>(llmd-accept)')",
    })
  else
    vim.health.ok('Keys are mapped')
  end
  if vim.fn.has('mac') == 1 then
    vim.health.info('Keys with `M-` need a terminal that sends Option as Meta: `:help llmd-mac`')
  end
end

local function check_rivals()
  for _, rival in ipairs({ 'copilot', 'llama', 'minuet', 'supermaven-nvim' }) do
    if package.loaded[rival] or vim.g['loaded_' .. rival] then
      vim.health.warn(('`%s` also shows ghost text'):format(rival), { 'Disable one of them' })
    end
  end
end

local function check_buffer()
  local buf = vim.fn.bufnr('#')
  local reason = buf > 0 and config.off_reason(buf)
  if reason then
    vim.health.info(('The buffer before this one gets no suggestions: %s'):format(reason))
  end
end

function M.check()
  vim.health.start('llmd')
  if check_command() then
    check_daemon()
  end
  check_keys()
  check_rivals()
  check_buffer()
end

return M
