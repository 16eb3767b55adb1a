vim9script
# Keeps the state of the model's engine as the daemon last reported it.

import autoload './message.vim'

var engine = {state: '', share: 0.0, reason: '', problems: []}

export def Current(): dict<any>
  return engine
enddef

# Takes over a report and shows its problems. Returns whether the engine has just become ready.
export def Update(report: dict<any>): bool
  const before = engine.state
  extend(engine, report)
  for problem in engine.problems
    message.Once(problem)
  endfor
  if engine.state == 'loading' && empty(engine.problems)
    message.Once('loading the model')
  endif
  redrawstatus
  return engine.state == 'ready' && before != 'ready'
enddef

defcompile
