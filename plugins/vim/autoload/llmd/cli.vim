vim9script
# Runs the `llmd` command in the background, and never waits for it.

import autoload './config.vim'
import autoload './guard.vim'

# Where pipx, uv and Homebrew put commands. A program that the macOS Dock starts has none of these
# folders on its PATH.
const FOLDERS = [
  '~/.local/bin',
  '/opt/homebrew/bin',
  '/usr/local/bin',
  '~/.local/share/uv/tools/llmd/bin',
  '~/.local/pipx/venvs/llmd/bin',
  '~/.local/share/pipx/venvs/llmd/bin',
]

# Returns the path of a command, of which a name without a slash is looked for on PATH and then in
# the folders; empty when there is no such command.
export def Find(name: string, folders: list<string>): string
  const places = stridx(name, '/') >= 0 ? []
    : folders->mapnew((_, folder) => fnamemodify($'{folder}/{name}', ':p'))
  return ([name] + places)->map((_, place) => exepath(place))->filter((_, path) => path != '')
    ->get(0, '')
enddef

# Returns the command that runs llmd with these arguments, as job_start() takes it; it begins with a
# path, or with the option's name for a command that is not found.
export def Argv(args: list<string> = []): list<string>
  const set = config.Get('command')
  const [name; more] = type(set) == v:t_list ? set : split(set)
  const path = Find(name, FOLDERS)
  return [path == '' ? name : path] + more + args
enddef

export def NotFound(name: string): string
  const places = stridx(name, '/') >= 0 ? ''
    : '; it is neither on PATH nor in ' .. join(FOLDERS, ', ')
  return $'Command `{name}` is not found; set g:llmd_command to its absolute path, '
    .. 'or install llmd' .. places
enddef

# Calls `Then(output, problem)` at the end; `problem` is the last line that a failing command wrote
# to stderr, and empty when the command succeeded.
export def Run(args: list<string>, Then: func)
  const argv = Argv(args)
  if !executable(argv[0])
    Then('', NotFound(argv[0]))
    return
  endif
  var output = ''
  var problem = ''
  var code = -1
  var is_read = false
  # The output may end before or after the process.
  const Finish = () => {
    if is_read && code >= 0
      guard.Call(Then, [output, code == 0 ? '' : problem == '' ? $'exit code {code}' : problem])
    endif
  }
  job_start(argv, {
    in_io: 'null',
    err_cb: (_, line) => {
      problem = substitute(line, '^llmd: ', '', '')
    },
    out_cb: (_, line) => {
      output ..= line .. "\n"
    },
    close_cb: (_) => {
      is_read = true
      Finish()
    },
    exit_cb: (_, ended) => {
      code = ended
      Finish()
    },
  })
enddef

defcompile
