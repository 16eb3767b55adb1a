vim9script
# Asks the daemon for suggestions at the cursor, and passes the answers to the screen.

import autoload './buffers.vim'
import autoload './channel.vim'
import autoload './config.vim'
import autoload './cursor.vim'
import autoload './guard.vim'
import autoload './suggestion.vim'

# The request that has not been answered: `id`, and `at` as cursor.Here() gives it. The id of a
# request for an alternative is negative, so that no partial text is shown for it.
var waiting: dict<any> = {}
var timer = 0

export def IsWaiting(): bool
  return !empty(waiting)
enddef

# Returns whether the daemon has been asked about this position already.
export def IsAsked(): bool
  return suggestion.IsHere() || (IsWaiting() && cursor.IsAt(waiting.at))
enddef

# -- asking

# Asks for a suggestion as the user types: at once, or after `g:llmd_debounce_ms`.
export def AskSoon()
  const debounce_ms = config.Get('debounce_ms')
  timer_stop(timer)
  if debounce_ms > 0
    timer = guard.Later(() => Ask(false), debounce_ms)
  else
    Ask(false)
  endif
enddef

# Asks for a suggestion at the cursor. `is_invoked`: the user pressed the key for it.
export def Ask(is_invoked: bool)
  waiting = {}
  if !cursor.MayShow() || config.WhyOff(bufnr()) != '' || !buffers.Sync()
    return
  endif
  const at = cursor.Here()
  const id = channel.Request('textDocument/inlineCompletion', {
    textDocument: {uri: buffers.Uri(bufnr())},
    position: cursor.Position(),
    context: {triggerKind: is_invoked ? 1 : 2},
  }, OnAnswer)
  if id > 0
    waiting = {id: id, at: at}
  endif
enddef

# Asks again once the daemon is connected and its model is ready.
export def Resume()
  if config.Get('auto') && suggestion.Text() == ''
    Ask(false)
  endif
enddef

# Shortens the ghost text by what was typed, and asks for what is missing.
export def OnTyped()
  timer_stop(timer)
  const continues = suggestion.TypeThrough()
  if config.Get('auto') && (!continues || suggestion.IsUnfinished())
    AskSoon()
  endif
enddef

# Removes the suggestion, and ignores answers that are still to come. `kind`: `rejected` or
# `dismissed`.
export def Stop(kind: string)
  timer_stop(timer)
  waiting = {}
  suggestion.Remove(kind)
enddef

# Shows the alternative that is `by` steps further, and asks the daemon when it has not come yet.
export def Cycle(by: number)
  const nth = suggestion.Nth(by)
  if suggestion.Choose(nth) || !buffers.Sync()
    return
  endif
  const at = cursor.Here()
  const id = channel.Request('llmd/alternative', {
    uri: buffers.Uri(bufnr()), position: cursor.Position(), n: nth,
  }, (_, result) => OnAlternative(at, nth, result))
  waiting = id > 0 ? {id: -id, at: at} : {}
enddef

# -- answers

def IsFor(id: number): bool
  return IsWaiting() && waiting.id == id && cursor.IsAt(waiting.at)
enddef

# Shows the text of an `llmd/partial` notification, which is all the text so far.
export def OnPartial(params: dict<any>)
  if IsFor(params.id)
    suggestion.ShowPart(params.text)
  endif
enddef

def OnAnswer(id: number, result: any)
  if !IsFor(id)
    return
  endif
  waiting = {}
  const items = type(result) == v:t_dict ? get(result, 'items', []) : []
  if empty(items)
    suggestion.Remove('rejected')
  else
    suggestion.ShowWhole(items[0].insertText)
  endif
  redrawstatus  # the status line said `thinking`
enddef

def OnAlternative(at: dict<any>, nth: number, result: any)
  if IsWaiting() && waiting.id < 0
    waiting = {}
    redrawstatus
  endif
  suggestion.AddAlternative(at, nth, type(result) == v:t_dict ? get(result, 'text', '') : '')
enddef

export def OnLost()
  waiting = {}
enddef

defcompile
