vim9script
# `:Llmd health`: what works in this Vim and this buffer, and what to do about what does not.

import autoload './channel.vim'
import autoload './config.vim'
import autoload './connect.vim'
import autoload './state.vim'
import autoload './window.vim'

export def Open()
  window.Show('llmd-health', Report())
enddef

# `OK` and what holds, or `FIX` and what to do.
export def Report(): list<string>
  return Editor() + Daemon() + Model() + ThisBuffer() + Keys()
enddef

def Check(holds: bool, yes: string, no: string): string
  return holds ? $'OK   {yes}' : $'FIX  {no}'
enddef

def Editor(): list<string>
  const vim = $'Vim {v:versionlong / 1000000}.{v:versionlong / 10000 % 100}.{v:versionlong % 10000}'
  return [
    $'OK   {vim} has channels, jobs and text properties',
    Check(&encoding == 'utf-8', "'encoding' is utf-8", $"'encoding' is {&encoding}: put `set encoding=utf-8` into your vimrc"),
  ]
enddef

def Daemon(): list<string>
  const command = config.Command()[0]
  return [
    Check(executable(command) > 0, $'command {command} is {exepath(command)}', $'command {command} is not on $PATH: install llmd or set g:llmd_command'),
    Check(channel.IsOpen(), $'connected to {connect.Socket()}', $'no daemon ({connect.WhyClosed()}): try `:Llmd start`, then `:Llmd log`'),
    Check(!channel.IsStalled(), 'the daemon answers', 'the daemon does not answer: `:Llmd stop`, then `:Llmd start`'),
  ]
enddef

def Model(): list<string>
  const engine = state.Engine()
  var lines = [Check(engine.state != 'failed', $'the engine is {engine.state == "" ? "not known yet" : engine.state}', $'the engine has failed: {engine.reason}')]
  return lines + engine.problems->mapnew((_, problem) => $'FIX  {problem}')
enddef

def ThisBuffer(): list<string>
  const why = config.WhyOff(bufnr())
  return [Check(why == '', 'on in this buffer', $'off in this buffer: {why}')]
enddef

def Keys(): list<string>
  var lines = []
  for action in ['accept', 'accept-line', 'accept-word', 'next', 'prev', 'dismiss', 'trigger']
    const plug = $'<Plug>(llmd-{action})'
    const key = maplist()->filter((_, map) => map.mode =~ 'i' && map.rhs == plug)->map((_, map) => map.lhs)
    lines->add(Check(!empty(key), $'{action} is {join(key, " ")}', $'no key for {action}: `imap KEY {plug}`'))
  endfor
  return lines
enddef

defcompile
