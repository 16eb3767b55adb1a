vim9script
# Runs `:Llmd`. Most verbs run the `llmd` command in the background and show its output.

import autoload './cli.vim'
import autoload './config.vim'
import autoload './connect.vim'
import autoload './health.vim'
import autoload './request.vim'
import autoload './status.vim'
import autoload './window.vim'

var verbs: dict<func> = {}

export def Run(verb: string)
  const name = verb == '' ? 'status' : verb
  if has_key(verbs, name)
    const Act: func = verbs[name]
    Act()
  else
    echohl ErrorMsg
    echo $'llmd: `:Llmd {name}` is unknown; expected {join(sort(keys(verbs)), ", ")}'
    echohl None
  endif
enddef

# Runs a command and, when it has succeeded, `Then`.
def Order(verb: string, Then: func)
  cli.Run([verb], (output, problem) => {
    Show(Answer(output, problem))
    if problem == ''
      Then()
    endif
  })
enddef

# Shows the state in this buffer, and below it what the command prints.
def ShowHere(args: list<string>)
  const here = 'here: ' .. status.Line()
  cli.Run(args, (output, problem) => Show(here .. "\n" .. Answer(output, problem)))
enddef

def Toggle()
  g:llmd_enabled = !config.Get('enabled')
  if g:llmd_enabled
    connect.Ensure()
    request.Resume()
  else
    request.Stop('rejected')
  endif
  redrawstatus
  echo $'llmd is {g:llmd_enabled ? "on" : "off"}'
enddef

def OpenLog()
  cli.Run(['path', 'log'], (output, problem) => {
    if problem != ''
      Show(Answer(output, problem))
      return
    endif
    execute 'botright split' fnameescape(trim(output))
    setlocal readonly nomodifiable autoread
    normal! G
  })
enddef

def Answer(output: string, problem: string): string
  return problem != '' ? 'llmd: ' .. problem : output == '' ? 'llmd: done' : output
enddef

# Shows a long text in a window: Vim would wait for a key after a long message.
def Show(text: string)
  const lines = split(text, "\n")
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
  status: () => ShowHere(['status']),
  why: () => ShowHere(['why'] + (bufname() == '' ? [] : [expand('%:p')])),
  start: () => Order('start', () => connect.Reconnect()),
  # A daemon that was killed could not say that the user stopped it.
  stop: () => Order('stop', () => connect.SetAfterExit('stay')),
  restart: () => Order('restart', () => connect.Reconnect()),
  toggle: () => Toggle(),
  log: () => OpenLog(),
  health: () => health.Open(),
}

defcompile
