vim9script
# Reads the user's options, and decides whether a buffer gets suggestions.

import autoload './message.vim'

const DEFAULTS = {
  enabled: true,
  filetypes: {'*': true, help: false, gitrebase: false},
  auto: true,
  maps: true,
  debounce_ms: 0,
  max_file_bytes: 1000000,
  disabled_folders: [],
  command: 'llmd',
  start: true,
  kept_after_ms: 30000,
}
const TYPES = {
  [v:t_number]: 'number',
  [v:t_string]: 'string',
  [v:t_list]: 'list',
  [v:t_dict]: 'dictionary',
  [v:t_bool]: 'boolean',
}

# Returns the option `g:llmd_{name}`. An invalid value is reported, and the default is returned.
export def Get(name: string): any
  const default = DEFAULTS[name]
  const set = get(g:, 'llmd_' .. name, default)
  if !IsValid(name, set)
    const expected = name == 'command' ? 'string or list' : TYPES[type(default)]
    message.Once($'g:llmd_{name}: expected {expected}, got {get(TYPES, type(set), typename(set))}')
    return default
  endif
  return type(default) == v:t_bool ? !!set : set
enddef

# Returns whether the value has the option's type. A number may stand for a boolean.
def IsValid(name: string, value: any): bool
  const expected = type(DEFAULTS[name])
  return type(value) == expected
    || expected == v:t_bool && type(value) == v:t_number
    || name == 'command' && type(value) == v:t_list
enddef

# Returns in a few words why the buffer gets no suggestions; empty when the buffer gets them.
export def WhyOff(buf: number): string
  if !Get('enabled')
    return 'g:llmd_enabled'
  endif
  const own = getbufvar(buf, 'llmd_enabled', null)
  if own != null && !own
    return 'b:llmd_enabled'
  endif
  if own == null && !IsOnFor(getbufvar(buf, '&filetype'))
    return 'filetype'
  endif
  if &encoding != 'utf-8'
    return $"'encoding' is {&encoding}, not utf-8"
  endif
  const of_buffer = WhyOffBuffer(buf)
  return of_buffer != '' ? of_buffer : WhyOffFile(buf)
enddef

def WhyOffBuffer(buf: number): string
  const buftype = getbufvar(buf, '&buftype')
  if buftype != '' || bufname(buf) =~ '^\a[[:alnum:]+.-]*://'
    return 'not a file'
  endif
  if !getbufvar(buf, '&modifiable') || getbufvar(buf, '&readonly')
    return 'read-only'
  endif
  return getbufvar(buf, '&binary') ? 'binary' : ''
enddef

def IsOnFor(filetype: string): bool
  const set = Get('filetypes')
  const otherwise = get(set, '*', get(DEFAULTS.filetypes, filetype, true))
  return !!get(set, filetype, otherwise)
enddef

def WhyOffFile(buf: number): string
  const n_bytes = buf == bufnr() ? line2byte(line('$') + 1) : getfsize(bufname(buf))
  if n_bytes > Get('max_file_bytes')
    return 'size'
  endif
  const folders = Get('disabled_folders')
  return !empty(folders) && IsIn(fnamemodify(bufname(buf), ':p'), folders) ? 'folder' : ''
enddef

# Returns whether the path is in one of the folders, as both are written or with symbolic links
# resolved.
def IsIn(path: string, folders: list<string>): bool
  for folder in folders
    const root = fnamemodify(expand(folder), ':p')
    if IsBelow(path, root) || IsBelow(resolve(path), resolve(root))
      return true
    endif
  endfor
  return false
enddef

def IsBelow(path: string, root: string): bool
  return stridx(path, substitute(root, '/*$', '/', '')) == 0
enddef

defcompile
