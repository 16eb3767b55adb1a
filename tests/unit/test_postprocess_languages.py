"""Tests what an editor shows, given a file and the model's output. `‸` is the cursor, `»` a tab."""

from __future__ import annotations

import pytest

from llmd.context.window import Excerpt
from llmd.postprocess.stop import rule_for, stop_at
from llmd.postprocess.trim import trim


def at(file: str) -> Excerpt:
    prefix, suffix = file.replace("»", "\t").split("‸")
    head, tail = prefix.rpartition("\n")[2], suffix.partition("\n")[0]
    below = [line.strip() for line in suffix.split("\n")[1:] if line.strip()]
    return Excerpt(prefix, suffix, head, tail, below[0] if below else "")


def shown(file: str, text: str, without: frozenset[str] = frozenset()) -> str:
    place, text = at(file), text.replace("»", "\t")
    rule = rule_for(place, 64, 8, 1500, without)
    kept = text[: stop_at(text, rule, is_final=True).n_chars]
    return trim(kept, place, without).replace("\t", "»")


Row = tuple[str, str, str]  # the file, the model's output, the text shown

PYTHON: dict[str, Row] = {
    "one line inside a line": ("x = ‸\n", "f(1)\ny = 2\n", "f(1)"),
    "a body": ("def f(a):\n    ‸\n", "b = a\n    return b\n", "b = a\n    return b"),
    "a body ends where its block does": (
        "def f(a):‸\n",
        "\n    return a\n\ndef g(b):\n    return b\n",
        "\n    return a",
    ),
    "a hole ends where its block does": (
        "if a:\n    b = 1\n‸\nc = 3\n",
        "    d = 2\ne = 4\n",
        "    d = 2",
    ),
    "few lines in a hole": (
        "def f():\n    a = 1\n    ‸\n    z = 9\n",
        "b = 2\n    c = 3\n    d = 4\n    e = 5\n",
        "b = 2\n    c = 3\n    d = 4",
    ),
    "the next line is not repeated": ("a = 1\n‸\nb = 2\n", "c = 3\nb = 2\n", "c = 3"),
    "the next line alone is nothing": ("a = 1\n‸\nb = 2\n", "b = 2\n", ""),
    "the next line completed by hand is nothing": ("a = 1\nb =‸\nb = 2\n", " 2\n", ""),
    "the next line at another depth is not repeated": (
        "while a:\n    b()\n‸\n        c += 1\n",
        "    c += 1\n",
        "",
    ),
    "a common line may stand twice": (
        "for a in b:\n    if c:\n        ‸\n    break\n",
        "break\n",
        "break",
    ),
    "a call of several lines may stand twice": (
        "‸\nadd(\n    'b')\n",
        "add(\n    'a')\n",
        "add(\n    'a')",
    ),
    "the same call of several lines may not": ("‸\nadd(\n    'b')\n", "add(\n    'b')\n", ""),
    "an opened call alone may not": ("‸\nadd(\n    'b')\n", "add(\n", ""),
    "the line above is not repeated": ("total.add(1)\n‸\n", "total.add(1)\n", ""),
    "a line three times in a row": ("def f():\n    ‸\n", "a()\n" + "    b()\n" * 3, "a()\n    b()"),
    "a block twice in a row": (
        "def f():\n    ‸\n",
        "a()\n    b()\n    a()\n    b()\n",
        "a()\n    b()",
    ),
    "a block without a body": ("def f():\n    a = 1\n‸\n    b = 2\n", "    if a:\n", ""),
    "no body at a file's end": ("def f(a):\n    return a\n‸\n", "    if a:\n", ""),
    "no body in the last line": (
        "def f(a):\n    b = 1\n‸\n",
        "    if a:\n        return b\n    else:\n",
        "    if a:\n        return b",
    ),
    "brackets in a docstring": (
        'def f(a):\n    """f(\'(\') is 1. See [0, 1)"""\n    b = 1\n‸\n    return b\n',
        "    if a:\n",
        "",
    ),
    "a block with its body below": (
        "def f():\n    a = 1\n‸\n        b = 2\n",
        "    if a:\n",
        "    if a:",
    ),
    "what can't stand over a deeper line": (
        "def f():\n    a = 1\n‸\n        b = 2\n",
        "    c = 3\n",
        "",
    ),
    "a comment over its line": ("def f():\n    ‸\n    pass\n", "# a: b\n", "# a: b"),
    "a condition of several lines": (
        "def f():\n    ‸\n        d()\n",
        "if (a and\n            b):\n",
        "if (a and\n            b):",
    ),
    "inside of a docstring": ('def f():\n    """A.\n    ‸\n      b\n', "1) (a))\n", "1) (a))"),
    "indentation that stands there": ("if a:\n    b\n    ‸\n", "    c\n    d\n", "c\n    d"),
    "indentation that does not": ("if a:\n‸\n", "    c\n", "    c"),
    "indentation still to be made": ("if a:\n    if b:\n    ‸\n", "    c\n", "    c"),
    "a space that stands there": ("return ‸\n", " a\n", "a"),
    "a space that aligns": ("x = 1  # ‸\n", " a\n", " a"),
    "the rest of the line": ("f(‸, height)\n", "width, height)", "width"),
    "a word that is part of another": ("    p‸s\n", "as\n", "as"),
    "a closer that stands there": ("f(g(‸))\n", "a))\n", "a"),
    "a closer, and one that is opened again": ("f(‸)\n", "a) + g(b\n", "a) + g(b"),
    "a closer of nothing": ("x = f(‸\n", "a))\n", "a)"),
    "a quote that stands there": ('x = "‸"\n', 'a"\n', "a"),
    "an interval": ("# x in ‸\n", "[0, 1)\n", "[0, 1)"),
    "an emoticon in a string": ("x = ‸\n", "f(1) + ':)'\n", "f(1) + ':)'"),
}
JAVASCRIPT: dict[str, Row] = {
    "a body with its closer": (
        "function f(a) {‸\n",
        "\n  return a;\n}\n\nf(1);\n",
        "\n  return a;\n}",
    ),
    "a body whose closer is there": (
        "function f(a) {\n  ‸\n}\n",
        "return a;\n}\n",
        "return a;",
    ),
    "a nested closer is no repetition": (
        "function f(a) {\n  ‸\n}\n",
        "if (a) {\n    g();\n  }\n  h();\n}\n",
        "if (a) {\n    g();\n  }\n  h();",
    ),
    "a callback": ("on('a', () => {‸\n", "\n  b();\n});\nc();\n", "\n  b();\n});"),
    "a callback whose end is there": ("on('a', () => {\n  ‸\n});\n", "b();\n});\n", "b();"),
    "else is another block": ("if (a) {\n  ‸\n", "b();\n} else {\n  c();\n", "b();\n}"),
    "a condition": ("if (‸) {\n", "a > 0) {\n", "a > 0"),
    "a template": ("const a = `${‸}`;\n", "b}`;\n", "b"),
    "a type": ("const m: Map<‸\n", "string, Array<{ a: 1 }>>\n", "string, Array<{ a: 1 }>>"),
    "a case may be empty": (
        "switch (a) {\n  ‸\n  case 2:\n    b();\n}\n",
        "case 1:\n",
        "case 1:",
    ),
}
OTHERS: dict[str, Row] = {
    "rust lifetimes": ("fn f<'a>(‸) {\n}\n", "x: &'a str) -> &'a str\n", "x: &'a str"),
    "rust match": (
        "fn f(a: u8) {\n    match a {\n        ‸\n    }\n}\n",
        "0 => g(),\n        _ => h(),\n    }\n}\n",
        "0 => g(),\n        _ => h(),",
    ),
    "go errors": (
        "func f() error {\n»a, err := b()\n»‸\n»c(a)\n}\n",
        "if err != nil {\n»»return err\n»}\n»c(a)\n",
        "if err != nil {\n»»return err\n»}",
    ),
    "c": ("int f(void)\n{\n    ‸\n}\n", "return 0;\n}\n\nint g", "return 0;"),
    "c rows of numbers": ("int a[] = {\n    1, 1,\n    ‸\n    1, 1,\n};\n", "1, 1,\n", "1, 1,"),
    "c rules of dashes": ("/‸\n", "/" + "-" * 70 + "\n", "/" + "-" * 70),
    "lua function": ("local function f(a)‸\n", "\n  return a\nend\n\nf(1)\n", "\n  return a\nend"),
    "lua function whose end is there": (
        "local function f(a)\n  ‸\nend\n",
        "return a\nend\n",
        "return a",
    ),
    "lua callback": ("map('a', function()‸\n", "\n  b()\nend)\nc()\n", "\n  b()\nend)"),
    "vim function": (
        "function! F() abort\n  ‸\n",
        "let a = 1\n  return a\nendfunction\nlet b\n",
        "let a = 1\n  return a\nendfunction",
    ),
    "vim comment": ('" a (b\nlet c = ‸\n', 'd(e))\n" f\n', "d(e))"),
    "shell case": ('case "$1" in\n  ‸\n', "start)\n    a ;;\n", "start)\n    a ;;"),
    "shell loop": ("for a in b; do‸\n", "\n  echo $a\ndone\necho c\n", "\n  echo $a\ndone"),
    "markdown list": ("- a\n‸\n- c\n", "- b\n- c\n", "- b"),
    "markdown heading": ("Text:\n\n‸\n", "1) one\n2) two\n", "1) one\n2) two"),
    "markdown nested list": (
        "```\nif a:\n    b\n```\n- x\n‸\n    - z\n",
        "- y\n",
        "- y",
    ),
    "prose": ("It was a ‸\n", " dark night.\nAnd so on.\n", "dark night."),
    "prose with quotes": ("He said (it's ‸\n", "what I'd say).\n", "what I'd say)."),
}


@pytest.mark.parametrize(("file", "output", "expected"), PYTHON.values(), ids=PYTHON)
def test_python(file: str, output: str, expected: str) -> None:
    assert shown(file, output) == expected


@pytest.mark.parametrize(("file", "output", "expected"), JAVASCRIPT.values(), ids=JAVASCRIPT)
def test_javascript_and_typescript(file: str, output: str, expected: str) -> None:
    assert shown(file, output) == expected


@pytest.mark.parametrize(("file", "output", "expected"), OTHERS.values(), ids=OTHERS)
def test_other_languages_and_prose(file: str, output: str, expected: str) -> None:
    assert shown(file, output) == expected
