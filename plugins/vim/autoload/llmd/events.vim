vim9script
# Connects Vim's events and the daemon's messages to the modules that handle them. Vim's events come
# through Handle(), which keeps an error away from the user's typing.

import autoload './accept.vim'
import autoload './buffers.vim'
import autoload './channel.vim'
import autoload './config.vim'
import autoload './connect.vim'
import autoload './cursor.vim'
import autoload './engine.vim'
import autoload './guard.vim'
import autoload './keys.vim'
import autoload './request.vim'
import autoload './suggestion.vim'

const IDLE_MS = 150

# The 'changedtick' at the last change that was handled: when the cursor moves and the text is still
# at this tick, the user did not type but moved the cursor.
var tick = -1
var idle_timer = 0
var handlers: dict<func> = {}

# Runs the handler of an event; an error in the handler is reported once.
export def Handle(name: string, ...args: list<any>)
  guard.Call(handlers[name], args)
enddef

# Starts the plugin, after Vim has drawn the first screen.
def Start()
  Listen()
  keys.Map()
  autocmd llmd CursorMoved,TextChanged,BufEnter * call llmd#events#Handle('Idle')
  OnIdle()
enddef

def Listen()
  channel.On('open', connect.OnOpen)
  channel.On('open', OnIdle)
  channel.On('open', request.Resume)
  channel.On('awake', buffers.ForgetAll)
  channel.On('awake', () => guard.Later(() => request.Resume()))
  channel.On('lost', buffers.ForgetAll)
  channel.On('lost', request.OnLost)
  channel.On('lost', connect.OnLost)
  channel.On('llmd/partial', request.OnPartial)
  channel.On('llmd/state', OnState)
  channel.On('llmd/bye', (params) => connect.SetAfterExit(get(params, 'then', 'restart')))
enddef

# Asks again once the engine is ready: earlier requests got empty answers.
def OnState(params: dict<any>)
  if engine.Update(params) && !request.IsWaiting()
    guard.Later(() => request.Resume())
  endif
enddef

# Sends the text and the cursor once the cursor rests in Normal mode, so that the daemon has
# evaluated the prompt before the first key in Insert mode.
def OnIdle()
  timer_stop(idle_timer)
  idle_timer = guard.Later(() => SendWhenNormal(), IDLE_MS)
enddef

def SendWhenNormal()
  if mode() == 'n' && config.WhyOff(bufnr()) == '' && buffers.Sync()
    SendCursor()
  endif
enddef

def SendCursor()
  channel.Notify('llmd/cursor', {uri: buffers.Uri(bufnr()), position: cursor.Position()})
enddef

# Waits for Insert mode to begin: only then is the cursor at its position.
def OnInsertEnter()
  tick = b:changedtick
  guard.Later(() => AskHere())
enddef

# Asks about the cursor's position, unless a key that was typed meanwhile has asked.
def AskHere()
  if config.WhyOff(bufnr()) != '' || request.IsAsked()
    return
  endif
  if !cursor.MayShow() || !buffers.Sync()
    return
  endif
  if config.Get('auto')
    request.AskSoon()
  else
    SendCursor()
  endif
enddef

def OnInsertLeave()
  request.Stop('rejected')
  suggestion.SetBlock(false)
  accept.OnInsertEnd()
enddef

def OnTextChanged()
  tick = b:changedtick
  request.OnTyped()
enddef

def OnCursorMoved()
  if tick == b:changedtick && !suggestion.IsHere()
    request.Stop('rejected')
    AskHere()
  endif
enddef

def OnMenuChanged()
  tick = b:changedtick
  request.Stop('rejected')
enddef

# Notes whether Insert mode, entered from the mode `old`, types into each line of a block: after a
# blockwise selection, or after `I` or `A` in another selection.
def OnModeChanged(old: string)
  suggestion.SetBlock(old == "\<C-V>" || old ==? 'v' && v:operator =~ '[IA]')
enddef

handlers = {
  Start: Start,
  Idle: OnIdle,
  InsertEnter: OnInsertEnter,
  InsertLeave: OnInsertLeave,
  TextChanged: OnTextChanged,
  CursorMoved: OnCursorMoved,
  MenuChanged: OnMenuChanged,
  MenuClosed: () => guard.Later(() => AskHere()),
  ModeChanged: OnModeChanged,
  BufferGone: (buf) => buffers.Close(buf),
  Leave: () => buffers.CloseAll(),
}

defcompile
