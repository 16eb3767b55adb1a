vim9script
# Says where the cursor is, and what was typed since it was at an earlier position.

# More lines than these between two positions were not typed.
const MAX_TYPED_LINES = 50

# Returns the position of the cursor. `col` counts bytes from 1; `rest` is the text right of the
# cursor.
export def Here(): dict<any>
  return {
    buf: bufnr(),
    tick: b:changedtick,
    lnum: line('.'),
    col: col('.'),
    rest: TextRight(),
  }
enddef

# Returns whether the cursor is at that position and the text has not changed since.
export def IsAt(at: dict<any>): bool
  return at.tick == b:changedtick && at.lnum == line('.') && at.col == col('.') && at.buf == bufnr()
enddef

export def TextRight(): string
  return strpart(getline('.'), col('.') - 1)
enddef

# Returns the cursor as an LSP position, in UTF-8.
export def Position(): dict<number>
  return {line: line('.') - 1, character: col('.') - 1}
enddef

# Returns whether ghost text may show: not while a macro is recorded or executed, so that its keys
# do the same each time, nor beside the popup menu, which uses the same keys.
export def MayShow(): bool
  return mode(1) == 'i' && !pumvisible() && !&paste && reg_recording() == '' && reg_executing() == ''
enddef

# Returns the text between the position and the cursor; empty when the cursor is not behind it.
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
