vim9script
# What Vim says has happened, and who has to know.

import autoload './channel.vim'
import autoload './documents.vim'
import autoload './keys.vim'
import autoload './options.vim'
import autoload './place.vim'
import autoload './reach.vim'
import autoload './suggestion.vim'

# The text that was last looked at: a cursor that moves without a change has left.
var tick = -1

# After the first screen.
export def Begin()
  keys.Map()
  if options.WhyOff(bufnr()) == ''
    reach.Begin()
  endif
enddef

export def InsertEnter()
  tick = b:changedtick
  # The cursor is where it will be only when Insert mode has begun.
  timer_start(0, (_) => Rest())
enddef

# A key that was typed meanwhile has asked here.
def Rest()
  if options.WhyOff(bufnr()) != '' || suggestion.IsAsked()
    return
  endif
  reach.Begin()
  if !place.MayShow() || !documents.Bring()
    return
  endif
  if options.Get('auto')
    suggestion.AskSoon()
  else
    channel.Notify('llmd/cursor', {
      uri: documents.Uri(bufnr()), position: place.Position(),
    })
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
  if options.Get('auto') && (!goes_on || suggestion.IsUnfinished())
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

export def ModeChanged(was: string, is: string)
  suggestion.SetBlock(was[0] =~ "^[vV\<C-V>]")
enddef

export def BufferGone(buf: number)
  documents.Close(buf)
enddef

export def Leave()
  documents.CloseAll()
enddef

defcompile
