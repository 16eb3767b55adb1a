vim9script
# The buffers that the daemon knows, and how what it has of them is brought up to date: only when
# it is asked something, and only the lines that changed.
#
# The daemon's text is every line with a newline behind it, so any lines may be replaced by lines.

import autoload './changes.vim'
import autoload './channel.vim'
import autoload './connect.vim'

# By buffer: uri, name, filetype, version, listener, span (see changes.vim).
var known: dict<dict<any>> = {}

export def Uri(buf: number): string
  const document = get(known, string(buf), {})
  return !empty(document) && document.name ==# bufname(buf) ? document.uri : NewUri(buf)
enddef

def NewUri(buf: number): string
  const path = fnamemodify(bufname(buf), ':p')
  const name = bufname(buf) == '' ? $'{getcwd()}/Untitled-{buf}' : path
  return (bufname(buf) == '' ? 'untitled://' : 'file://') .. name->substitute(
    '[^A-Za-z0-9/._~-]', (m) => Percent(m[0]), 'g')
enddef

def Percent(char: string): string
  return range(len(char))->map((_, i) => printf('%%%02X', char2nr(strpart(char, i, 1))))->join('')
enddef

# The daemon has the current buffer as it is when this returns true. It is looked for where there is
# none.
export def Bring(): bool
  if !channel.IsReady()
    connect.Begin()
    return false
  endif
  const key = string(bufnr())
  if has_key(known, key)
    listener_flush()
    if IsCurrent(known[key])
      Update(known[key])
      return true
    endif
    Close(bufnr())
  endif
  Open(key)
  return true
enddef

# Vim keeps an empty line where all were deleted, and says nothing of it: then, and whenever else the
# lines do not add up, the document is opened anew.
def IsCurrent(document: dict<any>): bool
  return document.name ==# bufname() && document.filetype ==# &filetype
    && document.span.n_lines == line('$')
enddef

export def Close(buf: number)
  const document = get(known, string(buf), {})
  if empty(document)
    return
  endif
  Forget(document)
  remove(known, string(buf))
  channel.Notify('textDocument/didClose', {textDocument: {uri: document.uri}})
enddef

# The daemon has none of them any more.
export def ForgetAll()
  for document in values(known)
    Forget(document)
  endfor
  known = {}
enddef

export def CloseAll()
  for key in keys(known)
    Close(str2nr(key))
  endfor
enddef

# What didOpen sent and every didChange since made of it; for tests and `:Llmd health`.
export def Known(): list<string>
  return values(known)->mapnew((_, document) => document.uri)
enddef

def Forget(document: dict<any>)
  listener_remove(document.listener)
enddef

def Open(key: string)
  const uri = NewUri(bufnr())
  known[key] = {
    uri: uri,
    name: bufname(),
    version: 1,
    filetype: &filetype,
    span: changes.None(line('$')),
    listener: listener_add(OnChange),
  }
  channel.Notify('textDocument/didOpen', {textDocument: {
    uri: uri,
    languageId: &filetype,
    version: 1,
    text: Text(1, line('$')),
  }})
enddef

def OnChange(buf: number, _: number, _: number, _: number, said: list<dict<any>>)
  const document = get(known, string(buf), {})
  if !empty(document)
    document.span = changes.Merge(document.span, said)
  endif
enddef

def Update(document: dict<any>)
  if changes.IsNone(document.span)
    return
  endif
  const range = changes.Range(document.span)
  document.version += 1
  document.span = changes.None(line('$'))
  channel.Notify('textDocument/didChange', {
    textDocument: {uri: document.uri, version: document.version},
    contentChanges: [{
      range: {
        start: {line: range.first, character: 0},
        end: {line: range.old_end, character: 0},
      },
      text: Text(range.first + 1, range.new_end),
    }],
  })
enddef

# A NUL in a line is a newline in its string; a carriage return would end the daemon's line.
def Text(first: number, last: number): string
  const lines = getline(first, last)
  return empty(lines) ? '' : lines->mapnew((_, line) => tr(line, "\n\r", '  '))->join("\n") .. "\n"
enddef

defcompile
