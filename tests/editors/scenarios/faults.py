"""The daemon or its worker goes, or stands still, while one types."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil

from tests.editors.driver import Editor, wait
from tests.editors.scenarios.listed import scenario
from tests.editors.steps import begun, has_line, showing, shown, shows, status, typed
from tests.editors.world import World


@scenario("real")
def restart_while_typing(world: World) -> None:
    """The daemon dies; another is started, and knows what was typed meanwhile."""
    editor = begun(world)
    typed(editor, "i    def perimeter(self):<CR>", "")
    world.kill_daemon()
    typed(editor, "        return 2 *", "        return 2 *")
    shows_of_another(editor, world)
    assert editor.lines()[-1] == "        return 2 * "


@scenario("real")
def stopped_and_started(world: World) -> None:
    """By the user: nobody brings it back before he does."""
    editor = begun(world)
    editor.command("Llmd stop")
    wait(lambda: status(editor).startswith("stopped"), "a status that says so")
    types_a_return(editor)
    assert status(editor).startswith("stopped")
    assert not world.daemon_is_up()
    editor.command("Llmd start")
    shows_of_another(editor, world)


@scenario("real")
def stopped_while_stuck(world: World) -> None:
    """It is killed then, and can tell nobody that the user wanted it so."""
    editor = begun(world)
    pid = world.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        editor.command("Llmd stop")
        wait(lambda: not psutil.pid_exists(pid), "its end")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    editor.keys("i")
    wait(lambda: after_a_key(editor).startswith("stopped"), "a status that says so")
    types_on_past_the_looks(editor)
    assert status(editor).startswith("stopped")
    assert not world.daemon_is_up()


def types_on_past_the_looks(editor: Editor) -> None:
    """Longer than a plugin waits for a daemon that restarts by itself."""
    end_s = time.monotonic() + 3
    wait(lambda: after_a_key(editor) != "" and time.monotonic() > end_s, "the time")


@scenario("real")
def ended_while_resting(world: World) -> None:
    """As a session's end does it: another is started when somebody types."""
    editor = begun(world)
    pid = world.pid
    os.kill(pid, signal.SIGTERM)
    wait(lambda: not psutil.pid_exists(pid), "the daemon's end")
    types_a_return(editor)
    shows_of_another(editor, world)


def types_a_return(editor: Editor) -> None:
    typed(editor, "i    def perimeter(self):<CR>", "")
    typed(editor, "        return 2 *", "        return 2 *")


def shows_of_another(editor: Editor, world: World) -> None:
    wait(world.daemon_is_up, "another daemon", timeout_s=90)
    editor.keys(" ")
    shown(editor)


@scenario("real")
def killed_while_silent(world: World) -> None:
    """A daemon that is sent nothing any more cannot be seen to go."""
    editor = begun(world)
    pid = world.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        typed(editor, "i    x = y", "    x = y")
        wait(lambda: after_a_key(editor).startswith("silent"), "a status that says so")
    finally:
        os.kill(pid, signal.SIGKILL)
    wait(lambda: after_a_key(editor) in ("ready", "thinking"), "another daemon", timeout_s=90)


def after_a_key(editor: Editor) -> str:
    editor.keys("z")
    return status(editor)


@scenario("fixed")
def worker_killed_while_typing(world: World) -> None:
    world.says("self.radius", hold=4)
    editor = begun(world)
    editor.keys("i    x = ")
    shows(editor, "self")
    world.kill_worker()
    world.says("self.radius")
    typed(editor, "y + ", "    x = y + ")
    shows(editor, "self.radius")


KEYS = "abcdefghi " * 20


@scenario("fixed")
def stopped_while_typing(world: World) -> None:
    """200 keys into an editor whose daemon stands still; then it goes on, and knows them."""
    editor = showing(world, "self.radius")
    with world.stopped():
        for key in KEYS:
            editor.keys(key)
        has_line(editor, "    x = " + KEYS)
        shows(editor, "")
    editor.keys("y ")
    has_line(editor, "    x = " + KEYS + "y ")
    wait(lambda: again(editor, "self.radius"), "the ghost text")


def again(editor: Editor, text: str) -> bool:
    """A daemon that has just come back is asked again with the next key."""
    if editor.ghost() != text:
        editor.keys("z<BS>")
    return editor.ghost() == text
