vim9script
# Where the cursor is, and what was typed since it was elsewhere.

# Lines of typed text that may lie between two looks; more is not typing.
const MAX_TYPED_LINES = 50

# `col` in bytes from 1; `rest`: what stands right of it.
export def Here(): dict<any>
  const col = col('.')
  return {
    buf: bufnr(),
    tick: b:changedtick,
    lnum: line('.'),
    col: col,
    rest: strpart(getline('.'), col - 1),
  }
enddef

export def Is(at: dict<any>): bool
  return at.tick == b:changedtick && at.lnum == line('.') && at.col == col('.') && at.buf == bufnr()
enddef

export def Right(): string
  return strpart(getline('.'), col('.') - 1)
enddef

# An LSP position, in utf-8.
export def Position(): dict<number>
  return {line: line('.') - 1, character: col('.') - 1}
enddef

# Recording or replaying, a key must do what it did; and a menu has the keys and the place.
export def MayShow(): bool
  return mode(1) == 'i' && !pumvisible() && !&paste && reg_recording() == '' && reg_executing() == ''
enddef

# What was put between that place and the cursor; empty where the cursor is not behind it.
export def TypedSince(at: dict<any>): string
  const lnum = line('.')
  const col = col('.')
  const is_after = lnum > at.lnum || (lnum == at.lnum && col > at.col)
  if bufnr() != at.buf || !is_after || lnum - at.lnum > MAX_TYPED_LINES
    return ''
  endif
  if lnum == at.lnum
    return strpart(getline('.'), at.col - 1, col - at.col)
  endif
  var lines = getline(at.lnum, lnum)
  lines[-1] = strpart(lines[-1], 0, col - 1)
  lines[0] = strpart(lines[0], at.col - 1)
  return join(lines, "\n")
enddef

defcompile
