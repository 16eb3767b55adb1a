--- Options, and whether a buffer gets suggestions. `setup` goes before `g:llmd_…`, that before the
--- default.
local M = {}

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
}

local chosen = {}

--- An error names the option, what was given and what is expected.
local function check(name, value)
  local default = M.defaults[name]
  if default == nil then
    local names = vim.tbl_keys(M.defaults)
    table.sort(names)
    error(('llmd: option `%s` is unknown; there are %s'):format(name, table.concat(names, ', ')), 0)
  end
  local is_argv = name == 'command' and type(value) == 'table'
  if type(value) ~= type(default) and not is_argv then
    local text = 'llmd: option `%s` is a %s, got a %s'
    error(text:format(name, type(default), type(value)), 0)
  end
end

---@param options table<string, any>
function M.set(options)
  for name, value in pairs(options) do
    check(name, value)
    chosen[name] = value
  end
end

--- A Vim script flag is a number.
local function flag(value)
  return value ~= 0 and value ~= false
end

function M.get(name)
  if chosen[name] ~= nil then
    return chosen[name]
  end
  local set, default = vim.g['llmd_' .. name], M.defaults[name]
  if set == nil then
    return default
  end
  return type(default) == 'boolean' and flag(set) or type(default) ~= 'boolean' and set
end

--- `:Llmd toggle` and one's own configuration both set the variable; it goes before `setup`.
local function is_enabled()
  local set = vim.g.llmd_enabled
  if set ~= nil then
    return flag(set)
  end
  return M.get('enabled')
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

--- As it is written, or through links.
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

--- Why the buffer gets no suggestions; nil where it does.
---@param buf integer
---@return string?
function M.off_reason(buf)
  if not is_enabled() then
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
