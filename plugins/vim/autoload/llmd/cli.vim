vim9script
# Runs the `llmd` command in the background, and never waits for it.

import autoload './config.vim'
import autoload './guard.vim'

# Calls `Then(output, problem)` at the end; `problem` is the last line that a failing command wrote
# to stderr, and empty when the command succeeded.
export def Run(args: list<string>, Then: func)
  const command = config.Command()
  if !executable(command[0])
    Then('', config.NotFound(command[0]))
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
  job_start(command + args, {
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
