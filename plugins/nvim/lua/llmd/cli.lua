--- Runs the `llmd` command in the background, and never waits for it.
local config = require('llmd.config')

local M = {}

---@param args string[]
---@return string[]
function M.argv(args)
  local command = config.get('command')
  return vim.list_extend(type(command) == 'table' and vim.deepcopy(command) or { command }, args)
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
    local text = 'Command `%s` is not found; install llmd, or set g:llmd_command to its path'
    done(nil, text:format(argv[1]))
  end
end

return M
