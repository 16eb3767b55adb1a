-- Defines the maps, the command and the highlight. Everything else is loaded after Neovim has started.
if vim.g.loaded_llmd then
  return
end
vim.g.loaded_llmd = 1

if vim.fn.has('nvim-0.11') == 0 then
  vim.api.nvim_echo({ { 'llmd: Neovim 0.11 or newer is needed' } }, true, {})
  return
end

vim.api.nvim_set_hl(0, 'LlmdGhost', { link = 'Comment', default = true })

for _, name in ipairs({ 'accept', 'accept-line', 'accept-word', 'next', 'prev', 'dismiss', 'trigger' }) do
  vim.keymap.set('i', '<Plug>(llmd-' .. name .. ')', function()
    return require('llmd.keys').pressed(name)
  end, { expr = true, replace_keycodes = false, remap = true, desc = 'llmd: ' .. name })
end

vim.api.nvim_create_user_command('Llmd', function(args)
  require('llmd.command').run(args.fargs)
end, {
  nargs = '*',
  desc = 'llmd: status, why, start, stop, restart, toggle, log',
  complete = function(lead)
    return require('llmd.command').complete(lead)
  end,
})

local function start()
  require('llmd.events').start()
end

-- Starts after Neovim has drawn the first screen, so that the plugin does not delay the screen.
if vim.v.vim_did_enter == 1 then
  vim.schedule(start)
else
  vim.api.nvim_create_autocmd('VimEnter', { once = true, callback = vim.schedule_wrap(start) })
end
