vim9script
# Finds the daemon and starts one when none runs: the command says where its socket is, and timers
# repeat an attempt that failed.

import autoload './channel.vim'
import autoload './cli.vim'
import autoload './config.vim'
import autoload './guard.vim'
import autoload './message.vim'

const FIRST_PAUSE_MS = 100
const MAX_PAUSE_MS = 10000
# A daemon that restarts is back within these attempts; only after them another one is started.
const N_ATTEMPTS = 4
# After these attempts the pause is the longest one.
const N_ATTEMPTS_SLOW = 7
const STOPPED = 'stopped: no daemon runs; `:Llmd start` starts it'

var socket = ''
var is_connecting = false
# What follows when the daemon exits: `restart`, `on_demand` (a start when a completion is wanted)
# or `stay` (the user stopped the daemon).
var after_exit = 'restart'
var why_closed = 'connecting'
var n_attempts = 0
# Whether to start a daemon at the first attempt: no other is about to come back.
var is_immediate = true
var timer = 0

export def WhyClosed(): string
  return after_exit == 'stay' ? STOPPED : why_closed
enddef

export def Socket(): string
  return socket
enddef

# Connects unless there is a connection or an attempt at one: a completion is wanted.
export def Ensure()
  if after_exit == 'on_demand'
    after_exit = 'restart'
  endif
  if !channel.IsOpen() && !is_connecting
    Attempt()
  endif
enddef

# Connects at once, also to a daemon that the user had stopped.
export def Reconnect()
  after_exit = 'restart'
  is_immediate = true
  if !channel.IsOpen()
    timer_stop(timer)
    Attempt()
  endif
enddef

def Attempt()
  is_connecting = true
  if socket != ''
    Open()
  else
    cli.Run(['path', 'socket'], OnSocket)
  endif
enddef

def OnSocket(output: string, problem: string)
  socket = trim(output)
  if socket != ''
    Open()
  else
    is_connecting = false
    Fail(problem)
  endif
enddef

def Open()
  if channel.Open(socket)
    return
  endif
  if config.Get('start') && after_exit == 'restart' && (is_immediate || n_attempts >= N_ATTEMPTS)
    StartDaemon()
  else
    Retry()
  endif
enddef

def StartDaemon()
  why_closed = 'starting'
  cli.Run(['start'], (_, problem) => {
    if problem != ''
      Fail(problem)
      n_attempts = N_ATTEMPTS_SLOW
    endif
    if !channel.Open(socket)
      Retry()
    endif
  })
enddef

def Fail(problem: string)
  why_closed = 'failed: ' .. problem
  message.Once(problem)
enddef

def Retry()
  is_connecting = true
  const pause_ms = min([MAX_PAUSE_MS, FIRST_PAUSE_MS * float2nr(pow(2, min([n_attempts, 10])))])
  n_attempts += 1
  timer = guard.Later(Attempt, pause_ms)
enddef

# -- what the channel reports

export def OnOpen()
  is_connecting = false
  n_attempts = 0
  is_immediate = false
  after_exit = 'restart'
  why_closed = ''
enddef

# Sets what follows when the daemon exits: `restart`, `on_demand` or `stay`.
export def SetAfterExit(what: string)
  after_exit = what
enddef

export def OnLost()
  why_closed = 'connecting'
  if after_exit == 'on_demand'
    is_connecting = false
    is_immediate = true
  else
    Retry()
  endif
enddef

defcompile
