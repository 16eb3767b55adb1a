vim9script
# What the user has set, and whether there is any completing in a buffer.

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
}

export def Get(name: string): any
  const default = DEFAULTS[name]
  const set = get(g:, 'llmd_' .. name, default)
  return type(default) == v:t_bool ? !!set : set
enddef

export def Names(): list<string>
  return sort(keys(DEFAULTS))
enddef

# The command that runs llmd, as job_start() takes it.
export def Command(...args: list<string>): list<string>
  const command = Get('command')
  return (type(command) == v:t_list ? command : split(command)) + args
enddef

export def NotFound(command: string): string
  return $'Command `{command}` is not found; install llmd, or set g:llmd_command to where it is'
enddef

# Why nothing is completed in this buffer, in a few words; empty where it is.
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

def IsIn(path: string, folders: list<string>): bool
  for folder in folders
    const root = substitute(fnamemodify(expand(folder), ':p'), '/*$', '/', '')
    if stridx(path, root) == 0 || stridx(resolve(path), resolve(root)->substitute('/*$', '/', '')) == 0
      return true
    endif
  endfor
  return false
enddef

defcompile
