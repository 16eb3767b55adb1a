vim9script
# What became of suggestions, told to the daemon in numbers; the text stays here.

import autoload './channel.vim'
import autoload './buffers.vim'

const KEPT_AFTER_MS = 30000
# An accepted text is looked for so many lines around where it was put.
const N_LINES_NEAR = 200

# What a key is about to insert; its change comes after the key.
var taking = ''

export def Send(kind: string, text: string)
  SendOf(bufnr(), kind, strcharlen(text))
enddef

def SendOf(buf: number, kind: string, n_chars: number)
  channel.Notify('llmd/outcome', {uri: buffers.Uri(buf), kind: kind, n_chars: n_chars})
enddef

export def Taking(text: string)
  taking = text
enddef

# How much of this was inserted by a key of ours, in bytes; counts it then. More may have been typed
# before Vim says that anything was.
export def Taken(typed: string): number
  const taken = taking
  taking = ''
  if taken == '' || stridx(typed, taken) != 0
    return 0
  endif
  Send('accepted', taken)
  const at = {buf: bufnr(), lnum: line('.')}
  timer_start(KEPT_AFTER_MS, (_) => LookAgain(at.buf, at.lnum, taken))
  return len(taken)
enddef

def LookAgain(buf: number, lnum: number, text: string)
  if bufloaded(buf)
    const near = getbufline(buf, max([1, lnum - N_LINES_NEAR]), lnum + N_LINES_NEAR)
    SendOf(buf, 'kept', NKept(text, join(near, "\n")))
  endif
enddef

# Characters of the lines of `text` that still stand whole.
export def NKept(text: string, near: string): number
  if stridx(near, text) >= 0
    return strcharlen(text)
  endif
  return split(text, "\n")->filter((_, line) => stridx(near, line) >= 0)->join('')->strcharlen()
enddef

defcompile
