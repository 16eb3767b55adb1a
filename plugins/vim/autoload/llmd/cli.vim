vim9script
# The `llmd` command, always in the background: nothing here waits.

import autoload './config.vim'

# `Then` gets what it printed, and when it failed the last line of its complaints.
export def Run(args: list<string>, Then: func)
  const command = config.Command()
  if !executable(command[0])
    Then('', config.NotFound(command[0]))
    return
  endif
  var said = ''
  var problem = ''
  var code = -1
  var is_read = false
  const Finish = () => {
    if is_read && code >= 0
      Then(said, code == 0 ? '' : problem == '' ? $'exit code {code}' : problem)
    endif
  }
  job_start(command + args, {
    in_io: 'null',
    err_cb: (_, line) => {
      problem = substitute(line, '^llmd: ', '', '')
    },
    out_cb: (_, line) => {
      said ..= line .. "\n"
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
