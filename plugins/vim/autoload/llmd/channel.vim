vim9script
# Holds the one connection to the daemon, and never waits for the daemon.
#
# Nothing is sent to a stalled daemon (see heartbeat.vim): such messages would delay keys and fill
# memory. The daemon's next message ends the stall, and every buffer is then sent again.

import autoload './guard.vim'
import autoload './heartbeat.vim'

# Vim keeps what does not fit into the socket's buffer, and writes the rest only together with the
# next message.
const PUSH_MS = 10
const PUSH_STALLED_MS = 200

var link: channel
var is_initialized = false
var n_waiting = 0
var push_timer = 0
var listeners: dict<list<func>> = {}

# Calls back on an event. `open`: the daemon has answered `initialize`. `awake`: a stalled daemon
# has answered. `lost`: the connection has ended. Any other name is a notification's method, whose
# parameters the callback gets.
export def On(name: string, Callback: func)
  listeners[name] = get(listeners, name, []) + [Callback]
enddef

def Emit(name: string, args: list<any> = [])
  for Callback in get(listeners, name, [])
    guard.Call(Callback, args)
  endfor
enddef

export def IsOpen(): bool
  return is_initialized && ch_status(link) == 'open'
enddef

export def IsStalled(): bool
  return heartbeat.IsStalled()
enddef

# Returns whether a message would be sent.
export def IsReady(): bool
  return IsOpen() && !IsStalled()
enddef

# -- sending

export def Notify(method: string, params: dict<any>)
  if !IsReady()
    return
  endif
  Ping()
  Send({method: method, params: params}, {})
enddef

# Returns the id of the request, whose answer `Reply(id, result)` gets; 0 when nothing was sent.
export def Request(method: string, params: dict<any>, Reply: func): number
  if !IsReady()
    return 0
  endif
  Ping()
  return Ask(method, params, Reply)
enddef

# Sends a ping when one is due: a request that the daemon answers at once, unlike a completion.
def Ping()
  if heartbeat.IsDue()
    Ask('llmd/snapshot', {uri: ''}, (_, _) => 0)
  endif
enddef

def Ask(method: string, params: dict<any>, Reply: func): number
  const sent = Send({method: method, params: params}, {callback: (_, reply) => {
    n_waiting -= 1
    Heard()
    guard.Call(Reply, [reply.id, get(reply, 'result', null)])
  }})
  if type(sent) != v:t_dict || !has_key(sent, 'id')
    return 0
  endif
  n_waiting += 1
  if push_timer == 0
    push_timer = guard.Later(Push, PUSH_MS)
  endif
  return sent.id
enddef

# Makes Vim write the rest of what it has kept, by a message without content, until every request
# has been answered.
def Push()
  push_timer = 0
  if n_waiting == 0 || ch_status(link) != 'open'
    return
  endif
  Ping()
  try
    ch_sendraw(link, '')
  catch /^Vim\%((\a\+)\)\=:E\%(630\|631\|906\)/  # closed; OnClosed() follows
  endtry
  push_timer = guard.Later(Push, IsStalled() ? PUSH_STALLED_MS : PUSH_MS)
enddef

def Send(content: dict<any>, how: dict<any>): any
  var sent: any = {}
  try
    sent = ch_sendexpr(link, content, how)
  catch /^Vim\%((\a\+)\)\=:E\%(630\|631\|906\)/  # closed; OnClosed() follows
  endtry
  return sent
enddef

# -- receiving

def OnMessage(_: channel, received: dict<any>)
  Heard()
  Emit(received.method, [get(received, 'params', {})])
enddef

def Heard()
  if heartbeat.Heard()
    Emit('awake')
  endif
enddef

def OnClosed(which: channel)
  if which != link
    return
  endif
  is_initialized = false
  Emit('lost')
enddef

# -- opening

# Returns whether the daemon listens at that socket.
export def Open(socket: string): bool
  if ch_status(link) == 'open'
    return true
  endif
  try
    link = ch_open('unix:' .. socket, {
      mode: 'lsp', noblock: 1, callback: OnMessage, close_cb: OnClosed,
    })
  catch /^Vim\%((\a\+)\)\=:E/  # E902: nothing listens there
  endtry
  if ch_status(link) != 'open'
    return false
  endif
  Initialize()
  return true
enddef

def Initialize()
  n_waiting = 0
  heartbeat.Reset()
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

def Initialized(_: number, _: any)
  is_initialized = true
  Notify('initialized', {})
  Emit('open')
enddef

defcompile
