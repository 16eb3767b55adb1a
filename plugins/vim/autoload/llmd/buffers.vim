vim9script
# Keeps the daemon's copies of buffers up to date, as LSP documents: a copy is updated only before a
# request, and only in the lines that changed.
#
# The copy has a newline after every line, so that whole lines can replace any lines.

import autoload './changes.vim'
import autoload './channel.vim'
import autoload './connect.vim'

# By buffer, the daemon's copy: uri, name, filetype, version, listener, span (see changes.vim).
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

# Sends what has changed in the current buffer. Returns whether the daemon's copy is up to date;
# without a connection the copy is not, and a connection is then tried.
export def Sync(): bool
  if !channel.IsReady()
    connect.Ensure()
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

# Returns whether Vim has reported every change. Vim does not report the empty line that a buffer
# keeps when all lines are deleted; when the number of lines differs, the document is opened again.
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

# Notes that the daemon has no copies any more.
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

def OnChange(buf: number, _: number, _: number, _: number, reported: list<dict<any>>)
  const document = get(known, string(buf), {})
  if !empty(document)
    document.span = changes.Merge(document.span, reported)
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

# Returns lines as one text. Control characters that would end a line in the daemon become blanks: a
# carriage return, and a NUL, for which getline() returns a newline.
def Text(first: number, last: number): string
  const lines = getline(first, last)
  return empty(lines) ? '' : lines->mapnew((_, line) => tr(line, "\n\r", '  '))->join("\n") .. "\n"
enddef

defcompile
