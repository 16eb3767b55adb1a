vim9script
# Reports for `:Llmd health` what works in this Vim and this buffer, and how to fix what does not.

import autoload './channel.vim'
import autoload './cli.vim'
import autoload './config.vim'
import autoload './connect.vim'
import autoload './engine.vim'
import autoload './window.vim'

export def Open()
  window.Show('llmd-health', Report())
enddef

# Returns lines that begin with `OK`, with `FIX` and say how to fix a problem, or with `INFO`.
export def Report(): list<string>
  return Editor() + Daemon() + Model() + ThisBuffer() + Keys()
enddef

def Check(is_ok: bool, yes: string, no: string): string
  return is_ok ? $'OK   {yes}' : $'FIX  {no}'
enddef

def Editor(): list<string>
  const vim = $'Vim {v:versionlong / 1000000}.{v:versionlong / 10000 % 100}.{v:versionlong % 10000}'
  return [
    $'OK   {vim} has channels, jobs and text properties',
    Check(&encoding == 'utf-8', "'encoding' is utf-8",
      $"'encoding' is {&encoding}: put `set encoding=utf-8` into your vimrc"),
  ]
enddef

def Daemon(): list<string>
  const path = cli.Argv()[0]
  const name = fnamemodify(path, ':t')
  const from = exepath(name) ==# path ? '' : ', which is not from PATH'
  return [
    Check(executable(path) > 0, $'command {name} is {path}{from}', cli.NotFound(path)),
    Check(channel.IsOpen(), $'connected to {connect.Socket()}',
      $'not connected to the daemon ({connect.WhyClosed()}): try `:Llmd start`, then `:Llmd log`'),
    Check(!channel.IsStalled(), 'the daemon answers',
      'the daemon does not answer: run `:Llmd stop`, then `:Llmd start`'),
  ]
enddef

def Model(): list<string>
  const found = engine.Current()
  const state = found.state == '' ? 'not known yet' : found.state
  return [
    Check(found.state != 'failed', $'the engine is {state}',
      $'the engine has failed: {found.reason}'),
  ] + found.problems->mapnew((_, problem) => $'FIX  {problem}')
enddef

def ThisBuffer(): list<string>
  const why = config.WhyOff(bufnr())
  return [Check(why == '', 'on in this buffer', $'off in this buffer: {why}')]
enddef

def Keys(): list<string>
  var lines = []
  for action in ['accept', 'accept-line', 'accept-word', 'next', 'prev', 'dismiss', 'trigger']
    const plug = $'<Plug>(llmd-{action})'
    const keys = maplist()->filter((_, map) => map.mode =~ 'i' && map.rhs == plug)
      ->mapnew((_, map) => map.lhs)
    lines->add(Check(!empty(keys), $'{action} is {join(keys, " ")}',
      $'no key for {action}: map one with `imap KEY {plug}`'))
  endfor
  return has('mac') ? lines + [
    'INFO keys with <M- need a terminal that sends Option as Meta: `:help llmd-mac`'
  ] : lines
enddef

defcompile
