vim9script
# Ghost text on the screen: text properties, one for what goes on in the line and one for each
# line below it. Knows nothing of where the text comes from.

const TYPE = 'llmd'

# {buf, lnum, n_lines of the buffer} of what is drawn.
var drawn: dict<number> = {}

# `col` is the byte column from 1 that it stands before.
export def Draw(lnum: number, col: number, text: string)
  Clear()
  if empty(prop_type_get(TYPE))
    prop_type_add(TYPE, {highlight: 'LlmdGhost'})
  endif
  const lines = split(text, "\n", true)
  if lines[0] != ''
    prop_add(lnum, col, {type: TYPE, text: Shown(lines[0], virtcol([lnum, col]) - 1)})
  endif
  for line in lines[1 :]
    prop_add(lnum, 0, {type: TYPE, text: line == '' ? ' ' : Shown(line, 0), text_align: 'below'})
  endfor
  drawn = {buf: bufnr(), lnum: lnum, n_lines: line('$')}
enddef

export def Clear()
  if empty(drawn)
    return
  endif
  const was = drawn
  drawn = {}
  if !bufloaded(was.buf)
    return
  endif
  const options = {type: TYPE, all: true, bufnr: was.buf}
  const n_lines = getbufinfo(was.buf)[0].linecount
  # Text above may have moved it; a property stays with its line, or with the one split off it.
  const margin = abs(n_lines - was.n_lines) + 1
  prop_remove(options, max([1, was.lnum - margin]), min([n_lines, was.lnum + margin]))
enddef

# Properties show a tab and other control characters as they show them in a file: a tab as `^I`.
def Shown(text: string, col: number): string
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
