vim9script
# Computes which lines of a buffer differ from the daemon's copy.

# Returns an empty span of changed lines. A span has the numbers of unchanged lines before (`head`)
# and after it (`tail`), of all lines in the buffer (`n_lines`) and of all in the copy (`n_before`).
export def None(n_lines: number): dict<number>
  return {n_before: n_lines, n_lines: n_lines, head: n_lines, tail: n_lines}
enddef

export def IsNone(span: dict<number>): bool
  return span.head + span.tail > span.n_lines && span.n_lines == span.n_before
enddef

# Extends a span by changes as listener_add() reports them: each applies to the result of the
# previous one.
export def Merge(span: dict<number>, changes: list<dict<any>>): dict<number>
  var merged = copy(span)
  for change in changes
    merged.head = min([merged.head, change.lnum - 1])
    merged.tail = min([merged.tail, merged.n_lines - change.end + 1])
    merged.n_lines += change.added
  endfor
  return merged
enddef

# Returns which lines to replace: lines `first` to `old_end` of the copy are now lines `first` to
# `new_end` of the buffer. Lines count from 0, and the ends are excluded.
export def Range(span: dict<number>): dict<number>
  const head = max([0, min([span.head, span.n_before - span.tail, span.n_lines - span.tail])])
  return {first: head, old_end: span.n_before - span.tail, new_end: span.n_lines - span.tail}
enddef

defcompile
