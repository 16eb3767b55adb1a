vim9script
# Measures how long the daemon has been silent.
#
# After QUIET_S without a message the daemon is pinged, together with the next message or while an
# answer is expected. A daemon that has not answered the ping after SILENT_S is stalled.

const QUIET_S = 0.5
const SILENT_S = 2.0

var heard_at: list<any> = reltime()
# The time of the ping that has not been answered; empty when there is none.
var pinged_at: list<any> = []
var is_stalled = false

# Starts again for a new connection, whose first request counts as a ping.
export def Reset()
  is_stalled = false
  pinged_at = reltime()
enddef

# Notes that the daemon has sent something. Returns whether the daemon was stalled until now.
export def Heard(): bool
  const was_stalled = is_stalled
  heard_at = reltime()
  pinged_at = []
  is_stalled = false
  return was_stalled
enddef

# Returns whether to ping the daemon now; the caller then sends the ping.
export def IsDue(): bool
  if !empty(pinged_at) || reltimefloat(reltime(heard_at)) <= QUIET_S
    return false
  endif
  pinged_at = reltime()
  return true
enddef

export def IsStalled(): bool
  if !is_stalled && !empty(pinged_at) && reltimefloat(reltime(pinged_at)) > SILENT_S
    is_stalled = true
  endif
  return is_stalled
enddef

defcompile
