vim9script
# Shows the user messages that were not asked for: one line each, once.

var shown: dict<bool> = {}

# Shows a sentence that has not been shown before; Vim does not wait for a key afterwards.
export def Once(sentence: string)
  if has_key(shown, sentence)
    return
  endif
  shown[sentence] = true
  echomsg Fit('llmd: ' .. sentence)
enddef

# Cuts a text to the width of the message line: Vim would wait for a key after a longer one.
def Fit(text: string): string
  const width = v:echospace
  return strdisplaywidth(text) <= width ? text : strcharpart(text, 0, max([width - 1, 0])) .. '…'
enddef

defcompile
