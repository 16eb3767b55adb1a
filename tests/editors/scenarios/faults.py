"""The daemon or its worker goes, or stands still, while one types."""

from __future__ import annotations

from tests.editors.driver import Editor, wait
from tests.editors.scenarios.listed import scenario
from tests.editors.steps import begun, has_line, showing, shown, shows, typed
from tests.editors.world import World


@scenario("real")
def restart_while_typing(world: World) -> None:
    """The daemon dies; another is started, and knows what was typed meanwhile."""
    editor = begun(world)
    typed(editor, "i    def perimeter(self):<CR>", "")
    world.kill_daemon()
    typed(editor, "        return 2 *", "        return 2 *")
    wait(world.daemon_is_up, "another daemon", timeout_s=90)
    editor.keys(" ")
    shown(editor)
    assert editor.lines()[-1] == "        return 2 * "


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
