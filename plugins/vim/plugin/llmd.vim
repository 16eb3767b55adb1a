" Defines the command, the <Plug> maps and the events of llmd, which completes code at the cursor.
"
" The scripts in autoload/llmd/ do the work; Vim reads them after it has drawn the first screen.
" Legacy script, so that an older Vim can name the feature that it lacks.

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
" When no suggestion shows, a key's expression returns the name of the old map, which Vim has to
" expand: hence `imap` and <script>.
imap <script><silent><expr> <Plug>(llmd-accept) llmd#keys#Accept('all')
imap <script><silent><expr> <Plug>(llmd-accept-line) llmd#keys#Accept('line')
imap <script><silent><expr> <Plug>(llmd-accept-word) llmd#keys#Accept('word')
imap <script><silent><expr> <Plug>(llmd-next) llmd#keys#Cycle(1)
imap <script><silent><expr> <Plug>(llmd-prev) llmd#keys#Cycle(-1)
imap <script><silent><expr> <Plug>(llmd-dismiss) llmd#keys#Dismiss()

augroup llmd
  autocmd!
  autocmd InsertEnter * call llmd#events#Handle('InsertEnter')
  autocmd InsertLeave,InsertChange,BufLeave,WinLeave * call llmd#events#Handle('InsertLeave')
  autocmd TextChangedI * call llmd#events#Handle('TextChanged')
  autocmd TextChangedP,CompleteChanged * call llmd#events#Handle('MenuChanged')
  autocmd CompleteDone * call llmd#events#Handle('MenuClosed')
  autocmd CursorMovedI * call llmd#events#Handle('CursorMoved')
  autocmd ModeChanged [^i]*:i* call llmd#events#Handle('ModeChanged', v:event.old_mode)
  autocmd BufUnload,BufFilePre,FileChangedShellPost * call llmd#events#Handle('BufferGone', str2nr(expand('<abuf>')))
  autocmd VimLeavePre * call llmd#events#Handle('Leave')
  autocmd ColorScheme * highlight default link LlmdGhost Comment
  autocmd VimEnter * call timer_start(0, {-> llmd#events#Handle('Start')})
augroup END

if v:vim_did_enter
  call timer_start(0, {-> llmd#events#Handle('Start')})
endif
