vim9script
# Runs the plugin's handlers so that an error in one of them is reported once and does not disturb
# typing.

import autoload './message.vim'

# Calls a handler and reports an error. CTRL-C is not an error and passes.
export def Call(Handler: func, args: list<any> = [])
  try
    call(Handler, args)
  catch /^\%(Vim:Interrupt$\)\@!/
    const function = substitute(v:throwpoint, '.*\.\.', '', '')
    message.Once($'error in the plugin: {v:exception} ({function})')
  endtry
enddef

# Runs the handler from a timer: at once by default, but after the event that is being handled.
export def Later(Handler: func, wait_ms = 0): number
  return timer_start(wait_ms, (_) => Call(Handler))
enddef

defcompile
