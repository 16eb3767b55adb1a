vim9script
# Computes how much of a suggestion a key takes, and what is left of a suggestion after typing.

const WORD = '^\_s*\%(\%(\w\|[^\x00-\x7f]\)\+\|[!-/:-@[-^`{-~]\+\)'
const CLOSERS = '^[])}>"''`;]\+$'

# Returns a part of the text: `all`; `line`, the rest of the first line, or the next line when the
# text begins with a newline; `word`, a word or a run of punctuation, with the blanks before it.
export def Part(text: string, part: string): string
  if part == 'all'
    return text
  endif
  const found = matchstr(text, part == 'line' ? '^\n\=[^\n]*' : WORD)
  return found == '' ? text : found
enddef

# Returns what is left of `text` after `typed`; null when the user typed something else. `right` is
# the text right of the cursor now, and `tail` the text right of the cursor at the request: an
# editor may have closed brackets and quotes automatically, which `right` then has in addition.
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
