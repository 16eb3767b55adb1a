vim9script
# What Vim says has happened, and who has to know.

import autoload './channel.vim'
import autoload './buffers.vim'
import autoload './keys.vim'
import autoload './config.vim'
import autoload './cursor.vim'
import autoload './suggestion.vim'

# The text that was last looked at: a cursor that moves without a change has left.
var tick = -1

const REST_MS = 150
var resting = 0

# After the first screen.
export def Begin()
  keys.Map()
  autocmd llmd CursorMoved,TextChanged,BufEnter * call llmd#events#Soon()
  Soon()
enddef

# Once the cursor has come to rest in Normal mode: the daemon has the text, and its prompt is
# evaluated before the first key.
export def Soon()
  timer_stop(resting)
  resting = timer_start(REST_MS, (_) => TellCursor())
enddef

def TellCursor()
  if mode() != 'n' || config.WhyOff(bufnr()) != ''
    return
  endif
  if buffers.Bring()
    SendCursor()
  endif
enddef

def SendCursor()
  channel.Notify('llmd/cursor', {uri: buffers.Uri(bufnr()), position: cursor.Position()})
enddef

export def InsertEnter()
  tick = b:changedtick
  # The cursor is where it will be only when Insert mode has begun.
  timer_start(0, (_) => Rest())
enddef

# A key that was typed meanwhile has asked here.
def Rest()
  if config.WhyOff(bufnr()) != '' || suggestion.IsAsked()
    return
  endif
  if !cursor.MayShow() || !buffers.Bring()
    return
  endif
  if config.Get('auto')
    suggestion.AskSoon()
  else
    SendCursor()
  endif
enddef

export def InsertLeave()
  suggestion.Stop('rejected')
  suggestion.SetBlock(false)
  keys.NewInsert()
enddef

export def TextChanged()
  tick = b:changedtick
  const goes_on = suggestion.Follow()
  if config.Get('auto') && (!goes_on || suggestion.IsUnfinished())
    suggestion.AskSoon()
  endif
enddef

export def CursorMoved()
  if tick == b:changedtick
    if !suggestion.IsHere()
      suggestion.Stop('rejected')
      Rest()
    endif
  endif
enddef

export def MenuChanged()
  tick = b:changedtick
  suggestion.Stop('rejected')
enddef

export def MenuClosed()
  timer_start(0, (_) => Rest())
enddef

# From another mode. What is typed after a blockwise selection, or `I` and `A` in another, goes into
# each line.
export def ModeChanged(was: string)
  suggestion.SetBlock(was == "\<C-V>" || was ==? 'v' && v:operator =~ '[IA]')
enddef

export def BufferGone(buf: number)
  buffers.Close(buf)
enddef

export def Leave()
  buffers.CloseAll()
enddef

defcompile
