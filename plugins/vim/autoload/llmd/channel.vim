vim9script
# The one connection to the daemon. Nothing here waits.
#
# A daemon that said nothing for QUIET_S is asked for a word, with the next message or while it owes
# an answer. When that takes SILENT_S it is sent nothing more, so a stopped one holds neither keys nor
# memory. Whatever it says then ends that, and every document is opened anew.

import autoload './buffers.vim'
import autoload './events.vim'
import autoload './connect.vim'
import autoload './state.vim'
import autoload './suggestion.vim'

const QUIET_S = 0.5
const SILENT_S = 2.0
# What does not fit the socket's buffer waits in Vim, which writes it with the next message only.
const PUSH_MS = 10
const PUSH_SILENT_MS = 200

var link: channel
var is_initialized = false
var n_waiting = 0
var is_stalled = false
var heard_at: list<any> = reltime()
# When it was asked for a word; empty: not since it spoke.
var asked_at: list<any> = []
var pushing = 0

export def IsOpen(): bool
  return is_initialized && ch_status(link) == 'open'
enddef

export def IsStalled(): bool
  if !is_stalled && !empty(asked_at) && reltimefloat(reltime(asked_at)) > SILENT_S
    is_stalled = true
  endif
  return is_stalled
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
  AskForAWord()
  Send({method: method, params: params}, {})
enddef

# The id of the request, to which `Reply(id, result)` answers; 0 when it is not sent.
export def Request(method: string, params: dict<any>, Reply: func): number
  if !IsReady()
    return 0
  endif
  AskForAWord()
  return Ask(method, params, Reply)
enddef

# A completion may take its time; this is answered at once.
def AskForAWord()
  if empty(asked_at) && reltimefloat(reltime(heard_at)) > QUIET_S
    asked_at = reltime()
    Ask('llmd/snapshot', {uri: ''}, (_, _) => 0)
  endif
enddef

export def Cancel(id: number)
  Notify('$/cancelRequest', {id: id})
enddef

def Ask(method: string, params: dict<any>, Reply: func): number
  const sent = Send({method: method, params: params}, {callback: (_, reply) => {
    n_waiting -= 1
    Heard()
    Reply(reply.id, get(reply, 'result', null))
  }})
  if type(sent) != v:t_dict || !has_key(sent, 'id')
    return 0
  endif
  n_waiting += 1
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
  AskForAWord()
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
    connect.Follow(get(params, 'then', 'restart'))
  endif
enddef

def Heard()
  heard_at = reltime()
  asked_at = []
  if is_stalled
    is_stalled = false
    buffers.ForgetAll()
    timer_start(0, (_) => suggestion.Resume())
  endif
enddef

def OnClosed(which: channel)
  if which != link
    return
  endif
  is_initialized = false
  buffers.ForgetAll()
  suggestion.Lost()
  connect.Lost()
enddef

# -- opening

# Whether somebody listens there.
export def Open(socket: string): bool
  if ch_status(link) == 'open'
    return true
  endif
  try
    link = ch_open('unix:' .. socket, {mode: 'lsp', noblock: 1, callback: OnMessage, close_cb: OnClosed})
  catch /^Vim\%((\a\+)\)\=:E/  # E902: nobody listens
  endtry
  if ch_status(link) != 'open'
    return false
  endif
  Initialize()
  return true
enddef

def Initialize()
  n_waiting = 0
  is_stalled = false
  asked_at = reltime()
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
  is_initialized = true
  connect.Found()
  Notify('initialized', {})
  events.Soon()
  suggestion.Resume()
enddef

defcompile
