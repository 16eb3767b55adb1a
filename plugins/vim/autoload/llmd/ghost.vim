vim9script
# Draws ghost text as text properties: one for the rest of the cursor's line, and one for each line
# below.

const TYPE = 'llmd'

# What is drawn: buf, lnum, and n_lines, the number of lines that the buffer had.
var drawn: dict<number> = {}

# Draws the text before the byte column `col`, which counts from 1.
export def Draw(lnum: number, col: number, text: string)
  Clear()
  if empty(prop_type_get(TYPE))
    prop_type_add(TYPE, {highlight: 'LlmdGhost'})
  endif
  const lines = split(text, "\n", true)
  if lines[0] != ''
    prop_add(lnum, col, {type: TYPE, text: Printable(lines[0], virtcol([lnum, col]) - 1)})
  endif
  for line in lines[1 :]
    prop_add(lnum, 0, {type: TYPE, text: line == '' ? ' ' : Printable(line, 0), text_align: 'below'})
  endfor
  drawn = {buf: bufnr(), lnum: lnum, n_lines: line('$')}
enddef

export def Clear()
  if empty(drawn)
    return
  endif
  const old = drawn
  drawn = {}
  if !bufloaded(old.buf)
    return
  endif
  const options = {type: TYPE, all: true, bufnr: old.buf}
  const n_lines = getbufinfo(old.buf)[0].linecount
  # Changes above may have moved the line that has the properties, or split it.
  const margin = abs(n_lines - old.n_lines) + 1
  prop_remove(options, max([1, old.lnum - margin]), min([n_lines, old.lnum + margin]))
enddef

# Returns the text with tabs and control characters as Vim shows them in a file: in a text property
# Vim would show a tab as `^I`.
def Printable(text: string, col: number): string
  if text !~ '[[:cntrl:]]'
    return text
  endif
  var shown = ''
  for char in split(text, '\zs')
    const width = strdisplaywidth(char, col + strdisplaywidth(shown))
    shown ..= char == "\t" ? repeat(' ', width) : strtrans(char)
  endfor
  return shown
enddef

defcompile
