vim9script
# Maps the default keys, and says what each key does. A key does what it did before llmd mapped it
# when no suggestion shows.

import autoload './accept.vim'
import autoload './config.vim'
import autoload './guard.vim'
import autoload './request.vim'
import autoload './suggestion.vim'

const DEFAULTS = {
  accept: "\<Tab>",
  'accept-line': "\<M-C-Right>",
  'accept-word': "\<M-Right>",
  next: "\<*M-]>",
  prev: "\<*M-[>",
  dismiss: "\<C-]>",
  trigger: "\<*M-Bslash>",
}

const PLAIN = {
  mode: 'i', abbr: 0, buffer: 0, expr: 0, lnum: 0, noremap: 0, nowait: 0, script: 0,
  scriptversion: 1, sid: 0, silent: 1,
}

# By action, the keys to type when no suggestion shows.
var fallback: dict<string> = {}

def Fallback(action: string): string
  return get(fallback, action, '')
enddef

# Returns the keys that insert `part` (`all`, `line` or `word`) of the suggestion, or the fallback.
export def Accept(part: string): string
  if !suggestion.IsHere()
    return Fallback(part == 'all' ? 'accept' : 'accept-' .. part)
  endif
  return accept.Keys(part)
enddef

# Returns the keys that show the next (1) or the previous (-1) suggestion, or the fallback.
export def Cycle(by: number): string
  if !suggestion.IsHere()
    return Fallback(by > 0 ? 'next' : 'prev')
  endif
  return $"\<Cmd>call llmd#request#Cycle({by})\<CR>"
enddef

export def Trigger()
  request.Stop('rejected')
  request.Ask(true)
enddef

# Dismisses the suggestion after this key, because a map's expression must not change the text.
export def Dismiss(): string
  if suggestion.Text() == ''
    return Fallback('dismiss')
  endif
  guard.Later(() => request.Stop('dismissed'))
  return ''
enddef

# -- maps

# Maps each default key, unless the user has mapped another key to the action.
export def Map()
  if !config.Get('maps')
    return
  endif
  for [action, key] in items(DEFAULTS)
    const plug = $'<Plug>(llmd-{action})'
    if !hasmapto(plug, 'i')
      MapKey(action, key, plug)
    endif
  endfor
enddef

def MapKey(action: string, key: string, plug: string)
  const old = GlobalMap(key)
  if !empty(old)
    Keep(action, old)
  elseif key !~ '[][]$'  # `<M-]>` would type an accented letter
    fallback[action] = key
  endif
  # mapset(), because `imap <M-]>` would also map the byte of an accented letter.
  mapset('i', false, extend({lhs: keytrans(key), lhsraw: key, rhs: plug}, PLAIN))
enddef

# Returns the global map of a key; maparg() finds a buffer's own map first.
def GlobalMap(key: string): dict<any>
  const found = maparg(keytrans(key), 'i', false, true)
  if empty(found) || !found.buffer
    return found
  endif
  const all = maplist()->filter(
    (_, map) => !map.buffer && map.mode =~ '[i!]' && map.lhsraw ==# found.lhsraw)
  return empty(all) ? {} : all[0]
enddef

# Keeps the old map, with all its attributes, under another name as the fallback.
def Keep(action: string, old: dict<any>)
  const name = "\<SNR>llmd-was-" .. action .. ';'
  mapset('i', false, extendnew(old, {lhs: keytrans(name), lhsraw: name}))
  fallback[action] = name
enddef

defcompile
