--- Reads the user's options, and decides whether a buffer gets suggestions. An option of `setup`
--- goes before the variable `g:llmd_…`, and that before the default.
local message = require('llmd.message')

local M = {}

---@class llmd.Options
---@field enabled? boolean
---@field filetypes? table<string, boolean>
---@field auto? boolean
---@field maps? boolean
---@field debounce_ms? number
---@field max_file_bytes? number
---@field disabled_folders? string[]
---@field command? string|string[]
---@field start? boolean
---@field kept_after_ms? number
M.defaults = {
  enabled = true,
  filetypes = { ['*'] = true, help = false, gitrebase = false },
  auto = true,
  maps = true,
  debounce_ms = 0,
  max_file_bytes = 1000000,
  disabled_folders = {},
  command = 'llmd',
  start = true,
  kept_after_ms = 30000,
}

local chosen = {} ---@type llmd.Options

--- Returns the types that an option may have.
---@param name string
---@return string[]
local function types_of(name)
  return name == 'command' and { 'string', 'table' } or { type(M.defaults[name]) }
end

local function check_name(name)
  if M.defaults[name] == nil then
    local names = vim.tbl_keys(M.defaults)
    table.sort(names)
    local text = 'llmd: option `%s` is unknown; expected %s'
    error(text:format(name, table.concat(names, ', ')), 0)
  end
end

--- Sets options. An unknown name or a value of a wrong type is an error that names the option, and
--- then no option is set.
---@param options llmd.Options
function M.set(options)
  for name, value in pairs(options) do
    check_name(name)
    vim.validate(('llmd option `%s`'):format(name), value, types_of(name))
  end
  chosen = vim.tbl_extend('force', chosen, options)
end

--- Returns whether a value of a variable is true: Vim script may use a number for a boolean.
local function flag(value)
  return value ~= 0 and value ~= false
end

--- Returns the value of the option's variable; nil when the variable is not set, or has a wrong
--- type, which is reported.
---@param name string
local function variable(name)
  local value = vim.g['llmd_' .. name]
  if value == nil then
    return nil
  end
  local is_flag = type(M.defaults[name]) == 'boolean'
  local types = is_flag and { 'boolean', 'number' } or types_of(name)
  local ok, problem = pcall(vim.validate, 'g:llmd_' .. name, value, types)
  if not ok then
    message.once(problem)
    return nil
  elseif is_flag then
    return flag(value)
  end
  return value
end

---@param name string
function M.get(name)
  if chosen[name] ~= nil then
    return chosen[name]
  end
  local value = variable(name)
  if value == nil then
    return M.defaults[name]
  end
  return value
end

--- Returns whether llmd is enabled. The variable goes before `setup` here, because `:Llmd toggle`
--- sets the variable.
---@return boolean
function M.is_enabled()
  local value = variable('enabled')
  if value == nil then
    return M.get('enabled')
  end
  return value
end

local function is_on_for(filetype)
  local all = M.get('filetypes')
  for _, name in ipairs({ filetype, '*' }) do
    if all[name] ~= nil then
      return flag(all[name])
    end
  end
  return M.defaults.filetypes[filetype] ~= false
end

local function is_below(name, folder)
  return vim.startswith(name, (folder:gsub('/*$', '/')))
end

--- Returns whether a file is in a disabled folder, as both are written or with symbolic links
--- resolved.
local function is_in_disabled_folder(name)
  local path, resolve = vim.fs.normalize(name), vim.fn.resolve
  for _, folder in ipairs(M.get('disabled_folders')) do
    local root = vim.fs.normalize(folder)
    if is_below(path, root) or is_below(resolve(path), resolve(root)) then
      return true
    end
  end
  return false
end

local function size_bytes(buf)
  return vim.api.nvim_buf_get_offset(buf, vim.api.nvim_buf_line_count(buf))
end

--- Returns why the buffer gets no suggestions; nil when the buffer gets them.
---@param buf integer
---@return string?
function M.off_reason(buf)
  if not M.is_enabled() then
    return 'g:llmd_enabled'
  end
  local own = vim.b[buf].llmd_enabled
  if own ~= nil then
    if not flag(own) then
      return 'b:llmd_enabled'
    end
  elseif not is_on_for(vim.bo[buf].filetype) then
    return 'filetype'
  end
  if vim.bo[buf].buftype ~= '' then
    return 'not a file'
  elseif vim.bo[buf].readonly or not vim.bo[buf].modifiable then
    return 'read-only'
  end
  local name = vim.api.nvim_buf_get_name(buf)
  if name:find('^%a[%w+.-]*://') then
    return 'not a file'
  elseif is_in_disabled_folder(name) then
    return 'folder'
  elseif size_bytes(buf) > M.get('max_file_bytes') then
    return 'size'
  end
end

return M
