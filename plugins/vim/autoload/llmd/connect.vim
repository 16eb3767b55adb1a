vim9script
# Finds the daemon, and starts one where none runs: the command says where, timers look again.

import autoload './channel.vim'
import autoload './cli.vim'
import autoload './config.vim'
import autoload './state.vim'

const FIRST_PAUSE_MS = 100
const MAX_PAUSE_MS = 10000
# So many failed looks before another daemon is started: one that restarts is back sooner.
const N_LOOKS = 4
# After so many the pause is the longest.
const N_LOOKS_SLOW = 7
const STOPPED = 'stopped: no daemon runs; `:Llmd start` starts it'

var socket = ''
var is_beginning = false
# What the daemon that went said should follow: `restart`, `on_demand` (when it is wanted) or
# `stay` (the user stopped it).
var then = 'restart'
var why_closed = 'connecting'
var n_looks = 0
# None is about to come back by itself.
var is_hurried = true
var timer = 0

export def WhyClosed(): string
  return then == 'stay' ? STOPPED : why_closed
enddef

export def Socket(): string
  return socket
enddef

# Somebody types where it may complete.
export def Begin()
  if then == 'on_demand'
    then = 'restart'
  endif
  if !channel.IsOpen() && !is_beginning
    Look()
  endif
enddef

# The user wants one now, whatever was before.
export def BeginAnew()
  then = 'restart'
  is_hurried = true
  if !channel.IsOpen()
    timer_stop(timer)
    Look()
  endif
enddef

def Look()
  is_beginning = true
  if socket != ''
    Open()
  else
    cli.Run(['path', 'socket'], (said, problem) => {
      socket = trim(said)
      if socket != ''
        Open()
      else
        is_beginning = false
        Failed(problem)
      endif
    })
  endif
enddef

def Open()
  if channel.Open(socket)
    return
  endif
  if config.Get('start') && then == 'restart' && (is_hurried || n_looks >= N_LOOKS)
    Start()
  else
    Retry()
  endif
enddef

def Start()
  why_closed = 'starting'
  cli.Run(['start'], (_, problem) => {
    if problem != ''
      Failed(problem)
      n_looks = N_LOOKS_SLOW
    endif
    if !channel.Open(socket)
      Retry()
    endif
  })
enddef

def Failed(problem: string)
  why_closed = 'failed: ' .. problem
  state.Tell(problem)
enddef

def Retry()
  is_beginning = true
  const pause_ms = min([MAX_PAUSE_MS, FIRST_PAUSE_MS * float2nr(pow(2, min([n_looks, 10])))])
  n_looks += 1
  timer = timer_start(pause_ms, (_) => Look())
enddef

# -- what becomes of the connection

export def Found()
  is_beginning = false
  n_looks = 0
  is_hurried = false
  then = 'restart'
  why_closed = ''
enddef

export def Follow(what: string)
  then = what
enddef

export def Lost()
  why_closed = 'connecting'
  if then == 'on_demand'
    is_beginning = false
    is_hurried = true
  else
    Retry()
  endif
enddef

defcompile
