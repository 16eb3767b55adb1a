" Defines the functions that a user may call. Legacy script, because Vim9 script cannot export names
" in lower case.

" Returns a few words for a statusline: what llmd does in this buffer, or why it does nothing.
function! llmd#statusline() abort
  return exists('g:loaded_llmd') && v:vim_did_enter ? llmd#status#Line() : ''
endfunction

" Returns whether ghost text shows.
function! llmd#visible() abort
  return llmd#suggestion#Text() !=# ''
endfunction

" Returns, for an <expr> map, the keys that accept the suggestion, or `fallback` when none shows.
function! llmd#accept(fallback = '') abort
  return llmd#visible() ? llmd#keys#Accept('all') : a:fallback
endfunction

" Completes the argument of `:Llmd`.
function! llmd#complete(lead, line, at) abort
  return join(sort(keys(llmd#command#Verbs())), "\n")
endfunction
