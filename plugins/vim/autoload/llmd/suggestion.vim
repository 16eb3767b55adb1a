vim9script
# Keeps the suggestion that is on the screen: shows it, shortens it as the user types it, removes
# it.
#
# The ghost text always continues the text left of the cursor. Any other typing removes the ghost
# text before Vim draws the screen again.

import autoload './cursor.vim'
import autoload './ghost.vim'
import autoload './partial_accept.vim'
import autoload './stats.vim'

# at: the position, as cursor.Here() gives it. text. is_final: whether no more text will come.
# alternatives, nth: the texts for this position, and the index of `text` among them. is_counted:
# whether the daemon knows that the user saw the text. typed: the part that was typed by hand.
var shown: dict<any> = {}
var is_block = false

# Returns what the ghost text says; empty when none shows.
export def Text(): string
  return empty(shown) ? '' : shown.text
enddef

# Returns whether a suggestion shows at the cursor, where a key may take it.
export def IsHere(): bool
  return !empty(shown) && cursor.IsAt(shown.at)
enddef

# Returns whether more of the suggestion on the screen has still to come.
export def IsUnfinished(): bool
  return !empty(shown) && !shown.is_final
enddef

# Limits suggestions to one line in a visual-block insert: Vim repeats only the first line of an
# insert in the other lines of the block.
export def SetBlock(is_so: bool)
  is_block = is_so
enddef

# -- showing

# Shows what has come so far, unless the ghost text already says this and more.
export def ShowPart(text: string)
  if !IsHere() || stridx(shown.text, text) != 0
    Show(text, false)
  endif
enddef

export def ShowWhole(text: string)
  Show(text, true)
enddef

def Show(text: string, is_final: bool)
  if !cursor.MayShow() || text == ''
    return
  endif
  const continues = IsHere() && (stridx(text, shown.text) == 0 || stridx(shown.text, text) == 0)
  const is_counted = continues && shown.is_counted
  if !empty(shown) && !continues
    Remove('rejected')
  endif
  shown = {
    at: cursor.Here(), text: text, is_final: is_final, alternatives: [text], nth: 0,
    is_counted: is_counted, typed: continues ? shown.typed : '',
  }
  Draw()
  if is_final
    CountShown()
  endif
enddef

def Draw()
  if is_block
    shown.text = matchstr(shown.text, '^[^\n]*')
  endif
  ghost.Draw(shown.at.lnum, shown.at.col, shown.text)
enddef

# Counts each suggestion once: when its text is complete, or when the suggestion is removed.
def CountShown()
  if !shown.is_counted
    shown.is_counted = true
    stats.Send('shown', shown.text)
  endif
enddef

# -- typing

# Adapts the ghost text to what was typed. Returns whether a part of the ghost text still shows.
export def TypeThrough(): bool
  const typed = empty(shown) ? '' : cursor.TypedSince(shown.at)
  const rest = typed == '' ? null
    : partial_accept.Rest(shown.text, typed, cursor.TextRight(), shown.at.rest)
  const n_taken = empty(shown) ? 0 : stats.Taken(typed)
  if rest == null
    RemoveRest(n_taken)
    return false
  endif
  return Advance(typed, n_taken, rest)
enddef

# Removes a suggestion that the text no longer continues; one that a key took entirely is not
# rejected.
def RemoveRest(n_taken: number)
  if n_taken > 0 && n_taken >= len(shown.text)
    CountShown()
    Drop()
  else
    Remove('rejected')
  endif
enddef

def Advance(typed: string, n_taken: number, rest: string): bool
  CountShown()
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

# Removes the suggestion from the screen. `kind` says what became of the suggestion: `rejected` or
# `dismissed`.
export def Remove(kind: string)
  if empty(shown)
    return
  endif
  CountShown()
  stats.Send(kind, shown.text)
  Drop()
enddef

def Drop()
  shown = {}
  ghost.Clear()
enddef

# -- alternatives

# Returns the index of the alternative that is `by` steps further.
export def Nth(by: number): number
  return max([0, shown.nth + by])
enddef

# Shows an alternative that has already come. Returns false when that one has not.
export def Choose(nth: number): bool
  if nth >= len(shown.alternatives)
    return false
  endif
  extend(shown, {nth: nth, text: shown.alternatives[nth], is_final: true})
  Draw()
  return true
enddef

# Shows an alternative that has come for the position `at`; an empty text means that there are no
# more alternatives, and the first one shows again.
export def AddAlternative(at: dict<any>, nth: number, text: string)
  if !IsHere() || !cursor.IsAt(at) || len(shown.alternatives) != nth
    return
  endif
  if text != ''
    add(shown.alternatives, text)
  endif
  Choose(text != '' ? nth : 0)
enddef

defcompile
