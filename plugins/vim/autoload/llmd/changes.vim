vim9script
# Which lines of a buffer differ from what the daemon has. Pure.

# A span of changed lines: so many unchanged ones stand before and after it. `n_lines`: of the
# buffer now; `n_before`: of the text that the daemon has.
export def None(n_lines: number): dict<number>
  return {n_before: n_lines, n_lines: n_lines, head: n_lines, tail: n_lines}
enddef

export def IsNone(span: dict<number>): bool
  return span.head + span.tail > span.n_lines && span.n_lines == span.n_before
enddef

# `changes` as listener_add() gives them: each of the text that the one before it left.
export def Merge(span: dict<number>, changes: list<dict<any>>): dict<number>
  var merged = copy(span)
  for change in changes
    merged.head = min([merged.head, change.lnum - 1])
    merged.tail = min([merged.tail, merged.n_lines - change.end + 1])
    merged.n_lines += change.added
  endfor
  return merged
enddef

# Zero-based, ends excluded: lines `first` to `old_end` of the daemon's text are now lines `first`
# to `new_end` of the buffer.
export def Range(span: dict<number>): dict<number>
  const head = max([0, min([span.head, span.n_before - span.tail, span.n_lines - span.tail])])
  return {first: head, old_end: span.n_before - span.tail, new_end: span.n_lines - span.tail}
enddef

defcompile
