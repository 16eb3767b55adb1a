" The names that others may call. Legacy script: Vim9 script exports no lower-case names.

" For a statusline: one word or two on what llmd does in this buffer, or why it does nothing.
function! llmd#statusline() abort
  return exists('g:loaded_llmd') && v:vim_did_enter ? llmd#state#Line() : ''
endfunction

" Whether ghost text is on show.
function! llmd#visible() abort
  return llmd#suggestion#Text() !=# ''
endfunction

" For an <expr> map on a key of your own: the keys that accept, or `fallback` when nothing shows.
function! llmd#accept(fallback = '') abort
  return llmd#visible() ? llmd#keys#Accept('all') : a:fallback
endfunction

function! llmd#complete(lead, line, at) abort
  return join(sort(keys(llmd#command#Verbs())), "\n")
endfunction
