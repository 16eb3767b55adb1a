vim9script
# Shows text that is too long for a message in a window, which `q` closes.

const MAX_LINES = 20

export def Show(name: string, lines: list<string>)
  const n_rows = lines->mapnew((_, line) => 1 + strdisplaywidth(line) / &columns)
    ->reduce((sum, n) => sum + n)
  execute $'botright :{min([n_rows, MAX_LINES])}new'
  setlocal buftype=nofile bufhidden=wipe noswapfile nobuflisted
  execute 'silent! file' name
  setline(1, lines)
  setlocal nomodifiable
  nnoremap <buffer> q <Cmd>close<CR>
enddef

defcompile
