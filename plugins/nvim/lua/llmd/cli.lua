--- The `llmd` command, always in the background: nothing here waits.
local config = require('llmd.config')

local M = {}

---@param args string[]
---@return string[]
function M.argv(args)
  local command = config.get('command')
  return vim.list_extend(type(command) == 'table' and vim.deepcopy(command) or { command }, args)
end

--- `done(text, problem)`: what it printed, or the last line that says why it failed.
---@param args string[]
---@param done fun(text: string?, problem: string?)
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
    local text = 'Command `%s` is not found; install llmd, or set g:llmd_command to where it is'
    done(nil, text:format(argv[1]))
  end
end

return M
