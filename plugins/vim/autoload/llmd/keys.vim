vim9script
# What the keys do, and the keys they have.
#
# Text is taken as keys, so that undo, repeat and macros see an insert. `<C-R><C-O>{register}`
# puts it as it is, and `.` reads the same register again; `<C-R><C-O>=` would end the repeat.
# The registers are the oldest deletes: only a delete moves those, and then `.` is that delete.

import autoload './config.vim'
import autoload './stats.vim'
import autoload './partial_accept.vim'
import autoload './suggestion.vim'

const REGISTERS = ['9', '8', '7', '6', '5']

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

var n_taken = 0
# What to type when nothing shows, by action.
var fallback: dict<string> = {}

export def NewInsert()
  n_taken = 0
enddef

# The keys that insert it, or those that the key meant before.
export def Accept(part: string): string
  if !suggestion.IsHere()
    return Before(part == 'all' ? 'accept' : 'accept-' .. part)
  endif
  return Take(partial_accept.Part(suggestion.Text(), part))
enddef

def Take(text: string): string
  stats.Taking(text)
  return "\<C-G>u" .. (IsPlain(text) ? text : FromRegister(text)) .. "\<C-G>u"
enddef

# Whether Vim would insert it as it is if it were typed.
def IsPlain(text: string): bool
  if text =~ '[[:cntrl:]]' || strcharlen(text) > 40 || &wrapmargin > 0
    return false
  endif
  const left = strpart(getline('.'), 0, col('.') - 1)
  const is_broken = &textwidth > 0 && strdisplaywidth(left .. text) > &textwidth
  const is_indented = (&cindent || &indentexpr != '') && (left !~ '\S' || text =~ '[:#]')
  return !is_broken && !is_indented
enddef

def FromRegister(text: string): string
  const register = REGISTERS[n_taken % len(REGISTERS)]
  n_taken += 1
  setreg(register, text, 'c')
  return "\<C-R>\<C-O>" .. register
enddef

def Before(action: string): string
  return get(fallback, action, '')
enddef

export def Cycle(by: number): string
  if !suggestion.IsHere()
    return Before(by > 0 ? 'next' : 'prev')
  endif
  return $"\<Cmd>call llmd#suggestion#Cycle({by})\<CR>"
enddef

export def Trigger()
  suggestion.Stop('rejected')
  suggestion.Ask(true)
enddef

export def Dismiss(): string
  if suggestion.Text() == ''
    return Before('dismiss')
  endif
  timer_start(0, (_) => suggestion.Stop('dismissed'))
  return ''
enddef

# -- maps

# A key that somebody mapped keeps what it did for when nothing shows.
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
  const was = GlobalMap(key)
  if !empty(was)
    Keep(action, was)
  elseif key !~ '[][]$'  # `<M-]>` would type an accented letter
    fallback[action] = key
  endif
  # Not by `imap`: `<M-]>` would be an accented letter's byte too.
  mapset('i', false, extend({lhs: keytrans(key), lhsraw: key, rhs: plug}, PLAIN))
enddef

# A map of the first buffer's own is there as well, and goes before ours.
def GlobalMap(key: string): dict<any>
  const found = maparg(keytrans(key), 'i', false, true)
  if empty(found) || !found.buffer
    return found
  endif
  const all = maplist()->filter((_, map) => !map.buffer && map.mode =~ '[i!]' && map.lhsraw ==# found.lhsraw)
  return empty(all) ? {} : all[0]
enddef

# Its map under another name, with all that it had.
def Keep(action: string, was: dict<any>)
  const name = "\<SNR>llmd-was-" .. action .. ';'
  mapset('i', false, extendnew(was, {lhs: keytrans(name), lhsraw: name}))
  fallback[action] = name
enddef

defcompile
