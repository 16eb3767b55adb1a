" llmd: code completion at the cursor from a local model.
"
" Commands, keys and events only. What they do is in autoload/llmd/ and is read after the first
" screen is drawn. Legacy script, so that an older Vim can say what it lacks.

if exists('g:loaded_llmd') || has('nvim')
  finish
endif
let g:loaded_llmd = 1

function! s:Lacks() abort
  if !has('patch-9.0.1378')
    return 'Vim ' . (v:version / 100) . '.' . (v:version % 100) . ' is too old; llmd needs 9.0.1378 or newer'
  endif
  for feature in ['channel', 'job', 'textprop', 'timers', 'vim9script']
    if !has(feature)
      return 'This Vim is built without +' . feature . '; install one that has it'
    endif
  endfor
  return ''
endfunction

let s:lack = s:Lacks()
if !empty(s:lack)
  command! -nargs=* Llmd echo 'llmd: ' . s:lack
  autocmd VimEnter * ++once echomsg 'llmd: ' . s:lack
  finish
endif

command! -bar -nargs=? -complete=custom,llmd#complete Llmd call llmd#command#Run(<q-args>)

highlight default link LlmdGhost Comment

inoremap <Plug>(llmd-trigger) <Cmd>call llmd#keys#Trigger()<CR>
" These type what the key did before when nothing shows, so what they return is mapped, but only by
" what is mapped here.
imap <script><silent><expr> <Plug>(llmd-accept) llmd#keys#Accept('all')
imap <script><silent><expr> <Plug>(llmd-accept-line) llmd#keys#Accept('line')
imap <script><silent><expr> <Plug>(llmd-accept-word) llmd#keys#Accept('word')
imap <script><silent><expr> <Plug>(llmd-next) llmd#keys#Cycle(1)
imap <script><silent><expr> <Plug>(llmd-prev) llmd#keys#Cycle(-1)
imap <script><silent><expr> <Plug>(llmd-dismiss) llmd#keys#Dismiss()

augroup llmd
  autocmd!
  autocmd InsertEnter * call llmd#events#InsertEnter()
  autocmd InsertLeave * call llmd#events#InsertLeave()
  autocmd TextChangedI * call llmd#events#TextChanged()
  autocmd TextChangedP,CompleteChanged * call llmd#events#MenuChanged()
  autocmd CompleteDone * call llmd#events#MenuClosed()
  autocmd CursorMovedI * call llmd#events#CursorMoved()
  autocmd ModeChanged [^i]*:i* call llmd#events#ModeChanged(v:event.old_mode)
  autocmd InsertChange * call llmd#events#InsertLeave()
  autocmd BufUnload,BufFilePre,FileChangedShellPost * call llmd#events#BufferGone(str2nr(expand('<abuf>')))
  autocmd BufLeave,WinLeave * call llmd#events#InsertLeave()
  autocmd VimLeavePre * call llmd#events#Leave()
  autocmd ColorScheme * highlight default link LlmdGhost Comment
  autocmd VimEnter * call timer_start(0, {-> llmd#events#Begin()})
augroup END

if v:vim_did_enter
  call timer_start(0, {-> llmd#events#Begin()})
endif
