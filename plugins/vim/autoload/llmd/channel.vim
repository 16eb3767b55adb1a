vim9script
# The one connection to the daemon. The command finds it or starts it, timers look for it again;
# nothing here waits.
#
# A daemon that has not answered for SILENT_S is sent nothing more, so a stopped one holds neither
# keys nor memory. Whatever it says then ends that, and every document is opened anew.

import autoload './daemon.vim'
import autoload './documents.vim'
import autoload './options.vim'
import autoload './state.vim'
import autoload './suggestion.vim'

const SILENT_S = 2.0
const FIRST_PAUSE_MS = 100
const MAX_PAUSE_MS = 10000
# So many failed looks before another daemon is started: one that restarts is back sooner.
const N_LOOKS = 4
# After so many messages that need no reply, one that does: only replies show that it is alive.
const N_UNASKED = 20
# What does not fit the socket's buffer waits in Vim, which writes it with the next message only.
const PUSH_MS = 10
const PUSH_SILENT_MS = 200
const STOPPED = 'stopped: no daemon runs; `:Llmd start` starts it'

var socket = ''
var link: channel
var is_initialized = false
var is_beginning = false
# What the daemon that went said should follow: `restart`, `on_demand` (when it is wanted) or
# `stay` (the user stopped it).
var then = 'restart'
var why_closed = 'connecting'
var n_looks = 0
var n_waiting = 0
var n_unasked = 0
var is_stalled = false
var heard_at: list<any> = reltime()
var timer = 0
var pushing = 0

export def IsOpen(): bool
  return is_initialized && ch_status(link) == 'open'
enddef

export def IsStalled(): bool
  if !is_stalled && n_waiting > 0 && reltimefloat(reltime(heard_at)) > SILENT_S
    is_stalled = true
  endif
  return is_stalled
enddef

export def WhyClosed(): string
  return why_closed
enddef

export def Socket(): string
  return socket
enddef

# Whether a message would be sent.
export def IsReady(): bool
  return IsOpen() && !IsStalled()
enddef

# -- sending

export def Notify(method: string, params: dict<any>)
  if !IsReady()
    return
  endif
  Send({method: method, params: params}, {})
  n_unasked += 1
  if n_unasked >= N_UNASKED && n_waiting == 0
    Request('llmd/snapshot', {uri: ''}, (_, _) => 0)
  endif
enddef

# The id of the request, to which `Reply(id, result)` answers; 0 when it is not sent.
export def Request(method: string, params: dict<any>, Reply: func): number
  return IsReady() ? Ask(method, params, Reply) : 0
enddef

export def Cancel(id: number)
  Notify('$/cancelRequest', {id: id})
enddef

def Ask(method: string, params: dict<any>, Reply: func): number
  if n_waiting == 0
    heard_at = reltime()
  endif
  const sent = Send({method: method, params: params}, {callback: (_, reply) => {
    n_waiting -= 1
    Heard()
    Reply(reply.id, get(reply, 'result', null))
  }})
  if type(sent) != v:t_dict || !has_key(sent, 'id')
    return 0
  endif
  n_waiting += 1
  n_unasked = 0
  if pushing == 0
    pushing = timer_start(PUSH_MS, Push)
  endif
  return sent.id
enddef

# Until all is answered: a message of no length makes Vim write what waits.
def Push(_: number)
  pushing = 0
  if n_waiting == 0 || ch_status(link) != 'open'
    return
  endif
  try
    ch_sendraw(link, '')
  catch /^Vim\%((\a\+)\)\=:E\%(630\|631\|906\)/  # the daemon went; OnClosed comes next
  endtry
  pushing = timer_start(IsStalled() ? PUSH_SILENT_MS : PUSH_MS, Push)
enddef

def Send(message: dict<any>, how: dict<any>): any
  var sent: any = {}
  try
    sent = ch_sendexpr(link, message, how)
  catch /^Vim\%((\a\+)\)\=:E\%(630\|631\|906\)/  # the daemon went; OnClosed comes next
  endtry
  return sent
enddef

# -- receiving

def OnMessage(_: channel, message: dict<any>)
  Heard()
  const params = get(message, 'params', {})
  if message.method == 'llmd/partial'
    suggestion.Partial(params.id, params.text)
  elseif message.method == 'llmd/state'
    state.Note(params)
  elseif message.method == 'llmd/bye'
    then = get(params, 'then', 'restart')
  endif
enddef

def Heard()
  heard_at = reltime()
  if is_stalled
    is_stalled = false
    documents.ForgetAll()
    timer_start(0, (_) => suggestion.Resume())
  endif
enddef

def OnClosed(_: channel)
  is_initialized = false
  why_closed = then == 'stay' ? STOPPED : 'connecting'
  documents.ForgetAll()
  suggestion.Lost()
  Retry()
enddef

# -- finding and starting

# Somebody types where it may complete.
export def Begin()
  if then == 'on_demand'
    then = 'restart'
  endif
  if !IsOpen() && !is_beginning
    Look()
  endif
enddef

# The user wants one now, whatever was before.
export def BeginAnew()
  then = 'restart'
  n_looks = N_LOOKS
  if !IsOpen()
    timer_stop(timer)
    Look()
  endif
enddef

def Look()
  is_beginning = true
  if socket != ''
    Open()
  else
    daemon.Run(['path', 'socket'], (said, problem) => {
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
  try
    link = ch_open('unix:' .. socket, {mode: 'lsp', noblock: 1, callback: OnMessage, close_cb: OnClosed})
  catch /^Vim\%((\a\+)\)\=:E/  # E902: nobody listens
  endtry
  if ch_status(link) == 'open'
    Initialize()
  elseif options.Get('start') && then == 'restart' && n_looks == N_LOOKS
    Start()
  else
    Retry()
  endif
enddef

def Start()
  n_looks += 1
  why_closed = 'starting'
  daemon.Run(['start'], (_, problem) => {
    if problem != ''
      Failed(problem)
    endif
    Open()
  })
enddef

def Failed(problem: string)
  why_closed = 'failed: ' .. problem
  state.Tell(problem)
enddef

def Initialize()
  n_waiting = 0
  is_stalled = false
  Ask('initialize', {
    processId: getpid(),
    clientInfo: {name: 'Vim', version: $'{v:versionlong / 10000}'},
    rootUri: null,
    capabilities: {
      general: {positionEncodings: ['utf-8']},
      textDocument: {inlineCompletion: {}},
    },
    initializationOptions: {llmd: {partial: true, state: true}},
  }, Initialized)
enddef

def Initialized(_: number, result: any)
  is_beginning = false
  is_initialized = true
  n_looks = 0
  why_closed = ''
  Notify('initialized', {})
  suggestion.Resume()
enddef

def Retry()
  is_beginning = true
  const pause_ms = min([MAX_PAUSE_MS, FIRST_PAUSE_MS * float2nr(pow(2, min([n_looks, 10])))])
  n_looks += 1
  timer = timer_start(pause_ms, (_) => Look())
enddef

defcompile
