vim9script
# Reports to the daemon what became of each suggestion. The reports have numbers of characters, and
# never text.

import autoload './buffers.vim'
import autoload './channel.vim'
import autoload './config.vim'
import autoload './guard.vim'

# The number of lines, on both sides of the line of acceptance, in which an accepted text is looked
# for.
const N_LINES_NEAR = 200

# The text that a key is about to insert; Vim reports the change only after the key.
var accepting = ''

# Reports `kind`: `shown`, `accepted`, `typed_through`, `rejected` or `dismissed`.
export def Send(kind: string, text: string)
  SendFor(bufnr(), kind, strcharlen(text))
enddef

def SendFor(buf: number, kind: string, n_chars: number)
  channel.Notify('llmd/outcome', {uri: buffers.Uri(buf), kind: kind, n_chars: n_chars})
enddef

export def BeforeAccept(text: string)
  accepting = text
enddef

# Returns how many bytes of `typed` were inserted by an accepting key, and reports them. More may
# have been typed before Vim reports the change.
export def Taken(typed: string): number
  const taken = accepting
  accepting = ''
  if taken == '' || stridx(typed, taken) != 0
    return 0
  endif
  Send('accepted', taken)
  const buf = bufnr()
  const lnum = line('.')
  guard.Later(() => SendKept(buf, lnum, taken), config.Get('kept_after_ms'))
  return len(taken)
enddef

def SendKept(buf: number, lnum: number, text: string)
  if bufloaded(buf)
    const near = getbufline(buf, max([1, lnum - N_LINES_NEAR]), lnum + N_LINES_NEAR)
    SendFor(buf, 'kept', NKept(text, join(near, "\n")))
  endif
enddef

# Returns the number of characters in those lines of `text` that are unchanged in `near`.
export def NKept(text: string, near: string): number
  if stridx(near, text) >= 0
    return strcharlen(text)
  endif
  return split(text, "\n")->filter((_, line) => stridx(near, line) >= 0)->join('')->strcharlen()
enddef

defcompile
