--- Runs the `llmd` command in the background, and never waits for it.
local config = require('llmd.config')

local M = {}

--- Where pipx, uv and Homebrew put commands. A program that the macOS Dock starts has none of these
--- folders on its PATH.
local FOLDERS = {
  '~/.local/bin',
  '/opt/homebrew/bin',
  '/usr/local/bin',
  '~/.local/share/uv/tools/llmd/bin',
  '~/.local/pipx/venvs/llmd/bin',
  '~/.local/share/pipx/venvs/llmd/bin',
}

--- Returns the path of a command, of which a name without a slash is looked for on PATH and then in
--- the folders; nil when there is no such command.
---@param name string
---@param folders string[]
---@return string?
function M.find(name, folders)
  local places = { name }
  for _, folder in ipairs(name:find('/', 1, true) and {} or folders) do
    table.insert(places, vim.fs.normalize(folder .. '/' .. name))
  end
  for _, place in ipairs(places) do
    local path = vim.fn.exepath(place)
    if path ~= '' then
      return path
    end
  end
end

--- Returns the command that runs llmd with these arguments; it begins with a path, or with the
--- option's name for a command that is not found.
---@param args string[]
---@return string[]
function M.argv(args)
  local command = config.get('command')
  local argv = type(command) == 'table' and vim.deepcopy(command) or { command }
  argv[1] = M.find(argv[1], FOLDERS) or argv[1]
  return vim.list_extend(argv, args)
end

---@param name string
---@return string
function M.not_found(name)
  local text = 'Command `%s` is not found; set g:llmd_command to its absolute path, or install llmd'
  if not name:find('/', 1, true) then
    text = text .. '; it is neither on PATH nor in ' .. table.concat(FOLDERS, ', ')
  end
  return text:format(name)
end

--- Calls `done(output, problem)` at the end; `problem` is the last line that a failing command
--- wrote to stderr, and nil when the command succeeded.
---@param args string[]
---@param done fun(output: string?, problem: string?)
function M.run(args, done)
  local argv = M.argv(args)
  local function finish(result)
    if result.code == 0 then
      return done(vim.trim(result.stdout), nil)
    end
    local lines = vim.split(vim.trim(result.stderr), '\n')
    done(nil, lines[#lines])
  end
  local ok = pcall(vim.system, argv, { text = true }, vim.schedule_wrap(finish))
  if not ok then
    done(nil, M.not_found(argv[1]))
  end
end

return M
