vim9script
# How much of a suggestion a key takes, and what is left of one after typing. Pure.

const WORD = '^\_s*\%(\%(\w\|[^\x00-\x7f]\)\+\|[!-/:-@[-^`{-~]\+\)'
const CLOSERS = '^[])}>"''`;]\+$'

# `part`: `all`; `line`, to the end of its first line, or of the next where nothing is left of
# that; `word`, a word or a run of signs with the blanks before it.
export def Part(text: string, part: string): string
  if part == 'all'
    return text
  endif
  const found = matchstr(text, part == 'line' ? '^\n\=[^\n]*' : WORD)
  return found == '' ? text : found
enddef

# What is still to be shown of `text` after `typed`; null where something else was typed. `right`
# is what stands right of the cursor, `tail` what stood there when the text was asked for: brackets
# and quotes that an editor closed by itself may have come between.
export def Rest(text: string, typed: string, right: string, tail: string): any
  if stridx(text, typed) != 0
    return null
  endif
  const rest = strpart(text, len(typed))
  const n_closers = len(right) - len(tail)
  if n_closers == 0
    return right ==# tail ? rest : null
  endif
  const closers = strpart(right, 0, n_closers)
  if n_closers < 0 || strpart(right, n_closers) !=# tail || closers !~ CLOSERS
    return null
  endif
  const n_kept = len(rest) - n_closers
  return n_kept >= 0 && strpart(rest, n_kept) ==# closers ? strpart(rest, 0, n_kept) : null
enddef

defcompile
