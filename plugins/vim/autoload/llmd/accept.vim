vim9script
# Inserts a suggestion by keys, so that undo, repeat and macros treat the text as typed.
#
# `<C-R><C-O>{register}` inserts a text unchanged, and `.` reads the same register again, whereas
# `<C-R><C-O>=` would end the repeat. The registers are those of the oldest deletes: only a delete
# changes them, and `.` then repeats that delete.

import autoload './partial_accept.vim'
import autoload './stats.vim'
import autoload './suggestion.vim'

const REGISTERS = ['9', '8', '7', '6', '5']
const MAX_TYPED_CHARS = 40

# The number of texts that were put into registers during this insert.
var n_registers = 0

export def OnInsertEnd()
  n_registers = 0
enddef

# Returns the keys that insert `part` (`all`, `line` or `word`) of the suggestion.
export def Keys(part: string): string
  const text = partial_accept.Part(suggestion.Text(), part)
  stats.BeforeAccept(text)
  return "\<C-G>u" .. (IsTypable(text) ? text : FromRegister(text)) .. "\<C-G>u"
enddef

# Returns whether Vim would insert the text unchanged if the user typed it.
def IsTypable(text: string): bool
  if text =~ '[[:cntrl:]]' || strcharlen(text) > MAX_TYPED_CHARS || &wrapmargin > 0
    return false
  endif
  const left = strpart(getline('.'), 0, col('.') - 1)
  const is_broken = &textwidth > 0 && strdisplaywidth(left .. text) > &textwidth
  const is_indented = (&cindent || &indentexpr != '') && (left !~ '\S' || text =~ '[:#]')
  return !is_broken && !is_indented
enddef

def FromRegister(text: string): string
  const register = REGISTERS[n_registers % len(REGISTERS)]
  n_registers += 1
  setreg(register, text, 'c')
  return "\<C-R>\<C-O>" .. register
enddef

defcompile
