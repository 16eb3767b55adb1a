vim9script
# The suggestion at the cursor: asked for, streamed, typed through, taken bit by bit, removed.
#
# What is on show always continues the text left of the cursor; whatever else is typed removes it
# before the screen is drawn again.

import autoload './channel.vim'
import autoload './buffers.vim'
import autoload './ghost.vim'
import autoload './config.vim'
import autoload './stats.vim'
import autoload './partial_accept.vim'
import autoload './cursor.vim'

# On show: at (a place), text, is_final, alternatives, nth (of them), is_told (that it was shown),
# typed (of it, by hand).
var shown: dict<any> = {}
# Under way: id, at.
var asked: dict<any> = {}
var timer = 0
var is_block = false

export def Text(): string
  return empty(shown) ? '' : shown.text
enddef

export def IsAsking(): bool
  return !empty(asked)
enddef

# Whether what is on show may be taken: it stands at the cursor.
export def IsHere(): bool
  return !empty(shown) && cursor.Is(shown.at)
enddef

# Whether this place was asked about already.
export def IsAsked(): bool
  return IsHere() || (!empty(asked) && cursor.Is(asked.at))
enddef

export def SetBlock(is_so: bool)
  is_block = is_so
enddef

# -- asking

export def AskSoon()
  const debounce_ms = config.Get('debounce_ms')
  if debounce_ms > 0
    timer_stop(timer)
    timer = timer_start(debounce_ms, (_) => Ask(false))
  else
    Ask(false)
  endif
enddef

export def Ask(is_invoked: bool)
  asked = {}
  if !cursor.MayShow() || config.WhyOff(bufnr()) != '' || !buffers.Bring()
    return
  endif
  const at = cursor.Here()
  const id = channel.Request('textDocument/inlineCompletion', {
    textDocument: {uri: buffers.Uri(bufnr())},
    position: cursor.Position(),
    context: {triggerKind: is_invoked ? 1 : 2},
  }, Answered)
  if id > 0
    asked = {id: id, at: at}
  endif
enddef

# The connection is there, or there again.
export def Resume()
  if config.Get('auto') && empty(shown)
    Ask(false)
  endif
enddef

export def Lost()
  asked = {}
enddef

# -- hearing

# `llmd/partial`: all the text so far.
export def Partial(id: number, text: string)
  if IsOf(id) && !StillSays(text)
    Show(text, false)
  endif
enddef

def Answered(id: number, result: any)
  if !IsOf(id)
    return
  endif
  asked = {}
  const items = type(result) == v:t_dict ? get(result, 'items', []) : []
  if empty(items)
    Remove('rejected')
  else
    Show(items[0].insertText, true)
  endif
  redrawstatus  # it was `thinking`
enddef

def IsOf(id: number): bool
  return !empty(asked) && asked.id == id && cursor.Is(asked.at)
enddef

# What is on show already says this and more; it does not shrink while more is on its way.
def StillSays(text: string): bool
  return IsHere() && stridx(shown.text, text) == 0
enddef

def Show(text: string, is_final: bool)
  if !cursor.MayShow() || text == ''
    return
  endif
  const goes_on = IsHere() && (stridx(text, shown.text) == 0 || stridx(shown.text, text) == 0)
  const is_told = goes_on && shown.is_told
  if !empty(shown) && !goes_on
    Remove('rejected')
  endif
  shown = {
    at: cursor.Here(), text: text, is_final: is_final, alternatives: [text], nth: 0,
    is_told: is_told, typed: goes_on ? shown.typed : '',
  }
  Draw()
  if is_final
    Tell()
  endif
enddef

def Draw()
  # In a visual-block insert only what stands in one line is repeated in the others.
  if is_block
    shown.text = matchstr(shown.text, '^[^\n]*')
  endif
  ghost.Draw(shown.at.lnum, shown.at.col, shown.text)
enddef

# Once for each suggestion, when it is whole or at its end.
def Tell()
  if !shown.is_told
    shown.is_told = true
    stats.Send('shown', shown.text)
  endif
enddef

# -- typing

# The text has changed. Returns whether what is on show goes on from it.
export def Follow(): bool
  timer_stop(timer)
  const typed = empty(shown) ? '' : cursor.TypedSince(shown.at)
  const rest = typed == '' ? null : partial_accept.Rest(shown.text, typed, cursor.Right(), shown.at.rest)
  const n_taken = empty(shown) ? 0 : stats.Taken(typed)
  if rest == null
    RemoveRest(n_taken)
    return false
  endif
  return Advance(typed, n_taken, rest)
enddef

# What was typed after a key took some of it says something else.
def RemoveRest(n_taken: number)
  if n_taken > 0 && n_taken >= len(shown.text)
    Tell()
    Drop()
  else
    Remove('rejected')
  endif
enddef

def Advance(typed: string, n_taken: number, rest: string): bool
  Tell()
  const by_hand = strpart(typed, n_taken)
  shown.typed ..= by_hand
  if rest == ''
    if by_hand != ''
      stats.Send('typed_through', shown.typed)
    endif
    Drop()
    return false
  endif
  extend(shown, {at: cursor.Here(), text: rest, alternatives: [rest], nth: 0})
  Draw()
  return true
enddef

# Whether more of what is on show is still on its way, and has to be asked for anew.
export def IsUnfinished(): bool
  return !empty(shown) && !shown.is_final
enddef

# Off the screen at once. `kind`: what became of it.
export def Remove(kind: string)
  if empty(shown)
    return
  endif
  Tell()
  stats.Send(kind, shown.text)
  Drop()
enddef

def Drop()
  shown = {}
  ghost.Clear()
enddef

# Nothing that is under way will be shown.
export def Stop(kind: string)
  timer_stop(timer)
  asked = {}
  Remove(kind)
enddef

# -- alternatives

export def Cycle(by: number)
  const nth = max([0, shown.nth + by])
  if nth < len(shown.alternatives)
    Choose(nth)
  elseif buffers.Bring()
    const at = shown.at
    const id = channel.Request('llmd/alternative', {
      uri: buffers.Uri(bufnr()), position: cursor.Position(), n: nth,
    }, (_, result) => Learn(at, nth, result))
    # Not as a completion: what comes of it in parts is not shown.
    asked = id > 0 ? {id: -id, at: at} : {}
  endif
enddef

# Where there is no other, the best follows the last.
def Learn(at: dict<any>, nth: number, result: any)
  if IsAsking() && asked.id < 0
    asked = {}
    redrawstatus
  endif
  if !IsHere() || !cursor.Is(at) || len(shown.alternatives) != nth
    return
  endif
  const text = type(result) == v:t_dict ? get(result, 'text', '') : ''
  if text != ''
    add(shown.alternatives, text)
  endif
  Choose(text != '' ? nth : 0)
enddef

def Choose(nth: number)
  extend(shown, {nth: nth, text: shown.alternatives[nth], is_final: true})
  Draw()
enddef

defcompile
