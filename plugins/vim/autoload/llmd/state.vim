vim9script
# What the daemon has said of itself, and what the user is told of it: one quiet line each.

import autoload './channel.vim'
import autoload './config.vim'
import autoload './connect.vim'
import autoload './suggestion.vim'

var engine = {state: '', share: 0.0, reason: '', problems: []}
var told: dict<bool> = {}

# `llmd/state`.
export def Note(said: dict<any>)
  const was = engine.state
  extend(engine, said)
  for problem in engine.problems
    Tell(problem)
  endfor
  if engine.state == 'loading' && empty(engine.problems)
    Tell('loading the model')
  endif
  # What was asked while there was no engine has been answered with nothing.
  if engine.state == 'ready' && was != 'ready' && !suggestion.IsAsking()
    timer_start(0, (_) => suggestion.Resume())
  endif
  redrawstatus
enddef

export def Engine(): dict<any>
  return engine
enddef

# Each sentence once; it does not wait for a key.
export def Tell(sentence: string)
  if has_key(told, sentence)
    return
  endif
  told[sentence] = true
  echomsg Fitting('llmd: ' .. sentence)
enddef

# A longer line would stop the editor until a key is pressed.
def Fitting(text: string): string
  const width = v:echospace
  return strdisplaywidth(text) <= width ? text : strcharpart(text, 0, max([width - 1, 0])) .. '…'
enddef

# In the same words as in Neovim: `loading 40%`, `ready`, `thinking`, `off: …`.
export def Line(): string
  const why = config.WhyOff(bufnr())
  if why != ''
    return 'off: ' .. why
  endif
  if !channel.IsOpen()
    return connect.WhyClosed()
  endif
  if channel.IsStalled()
    return 'silent: the daemon does not answer'
  endif
  if engine.state == 'loading'
    return $'loading {float2nr(100 * engine.share)}%'
  endif
  if engine.state == 'failed'
    return 'failed: ' .. engine.reason
  endif
  return suggestion.IsAsking() ? 'thinking' : engine.state
enddef

defcompile
