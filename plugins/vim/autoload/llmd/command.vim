vim9script
# `:Llmd`. What the command line knows it asks the command line, without waiting for it.

import autoload './cli.vim'
import autoload './health.vim'
import autoload './config.vim'
import autoload './connect.vim'
import autoload './state.vim'
import autoload './suggestion.vim'
import autoload './window.vim'

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

# `Then`, where it has been done.
def Order(verb: string, Then: func)
  cli.Run([verb], (said, problem) => {
    Say(Words(said, problem))
    if problem == ''
      Then()
    endif
  })
enddef

# What holds in this buffer, and what the command line says.
def Here(args: list<string>)
  const here = 'here: ' .. state.Line()
  cli.Run(args, (said, problem) => Say(here .. "\n" .. Words(said, problem)))
enddef

def Toggle()
  g:llmd_enabled = !config.Get('enabled')
  if g:llmd_enabled
    connect.Begin()
    suggestion.Resume()
  else
    suggestion.Stop('rejected')
  endif
  redrawstatus
  echo $'llmd is {g:llmd_enabled ? "on" : "off"}'
enddef

def Log()
  cli.Run(['path', 'log'], (said, problem) => {
    if problem != ''
      Say(Words(said, problem))
      return
    endif
    execute 'botright split' fnameescape(trim(said))
    setlocal readonly nomodifiable autoread
    normal! G
  })
enddef

def Words(said: string, problem: string): string
  return problem != '' ? 'llmd: ' .. problem : said == '' ? 'llmd: done' : said
enddef

# Many lines go into a window: as messages they would stop Vim until a key is pressed.
def Say(said: string)
  const lines = split(said, "\n")
  if len(lines) > 1 || strdisplaywidth(lines[0]) > v:echospace
    window.Show('llmd', lines)
  else
    redraw
    echomsg lines[0]
  endif
enddef

export def Verbs(): dict<any>
  return verbs
enddef

verbs = {
  status: () => Here(['status']),
  why: () => Here(['why'] + (bufname() == '' ? [] : [expand('%:p')])),
  start: () => Order('start', () => connect.BeginAnew()),
  # One that was killed could not say that nobody wants it back.
  stop: () => Order('stop', () => connect.Follow('stay')),
  restart: () => Order('restart', () => connect.BeginAnew()),
  toggle: () => Toggle(),
  log: () => Log(),
  health: () => health.Open(),
}

defcompile
