vim9script
# `:Llmd`. What the command line knows it asks the command line, without waiting for it.

import autoload './daemon.vim'
import autoload './health.vim'
import autoload './options.vim'
import autoload './reach.vim'
import autoload './state.vim'
import autoload './suggestion.vim'

var verbs: dict<func> = {}

export def Run(verb: string)
  const name = verb == '' ? 'status' : verb
  if has_key(verbs, name)
    const Act: func = verbs[name]
    Act()
  else
    echohl ErrorMsg
    echo $'llmd: `:Llmd {name}` is not known; there are {join(sort(keys(verbs)), ", ")}'
    echohl None
  endif
enddef

# Those after which there is another daemon.
def Renew(verb: string)
  Call([verb], (said) => {
    Say(said == '' ? "llmd: done\n" : said)
    reach.BeginAnew()
  })
enddef

# What holds in this buffer, and what the command line says.
def Here(args: list<string>)
  echomsg 'llmd here: ' .. state.Line()
  Print(args)
enddef

def Toggle()
  g:llmd_enabled = !options.Get('enabled')
  if g:llmd_enabled
    reach.Begin()
    suggestion.Resume()
  else
    suggestion.Stop('rejected')
  endif
  redrawstatus
  echo $'llmd is {g:llmd_enabled ? "on" : "off"}'
enddef

def Log()
  Call(['path', 'log'], (said) => {
    execute 'botright split' fnameescape(trim(said))
    setlocal readonly nomodifiable autoread
    normal! G
  })
enddef

def Print(args: list<string>)
  Call(args, Say)
enddef

def Say(said: string)
  redraw
  for line in split(said, "\n")
    echomsg line
  endfor
enddef

export def Verbs(): dict<any>
  return verbs
enddef

# `Then` gets what it printed, or the complaint.
def Call(args: list<string>, Then: func)
  daemon.Run(args, (said, problem) => {
    Then(said == '' && problem != '' ? 'llmd: ' .. problem : said)
  })
enddef

verbs = {
  status: () => Here(['status']),
  why: () => Here(['why'] + (bufname() == '' ? [] : [expand('%:p')])),
  start: () => Renew('start'),
  stop: () => Print(['stop']),
  restart: () => Renew('restart'),
  toggle: () => Toggle(),
  log: () => Log(),
  health: () => health.Open(),
}

defcompile
