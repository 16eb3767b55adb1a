vim9script
# Says in one line what llmd does in the current buffer, in the same words as in Neovim.

import autoload './channel.vim'
import autoload './config.vim'
import autoload './connect.vim'
import autoload './engine.vim'
import autoload './request.vim'

# Returns for example `loading 40%`, `ready`, `thinking` or `off: filetype`.
export def Line(): string
  const why = config.WhyOff(bufnr())
  if why != ''
    return 'off: ' .. why
  endif
  if !channel.IsOpen()
    return connect.WhyClosed()
  endif
  if channel.IsStalled()
    return 'silent: the daemon does not answer'
  endif
  return EngineLine()
enddef

def EngineLine(): string
  const found = engine.Current()
  if found.state == 'loading'
    return $'loading {float2nr(100 * found.share)}%'
  endif
  if found.state == 'failed'
    return 'failed: ' .. found.reason
  endif
  return request.IsWaiting() ? 'thinking' : found.state
enddef

defcompile
