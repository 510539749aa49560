"""Names out of somebody else's file, made safe to print: they may hold anything, and a log acts on some of it.

A terminal obeys escape sequences, a log's reader is misled by line breaks and by characters that turn the writing
direction, and GitHub's runner executes "##[command]" anywhere in a line and "::command::" at its start
(github.com/actions/runner, src/Runner.Common/ActionCommand.cs).
"""

MAX_SHOWN = 300
"""Characters of one text; a TFLite name may have thousands."""


def plain(text: str, *, most: int = MAX_SHOWN) -> str:
    """Return a text on one line of printable characters, anything else as its escape, cut where it is too long."""
    shown = "".join(char if char.isprintable() else _escape(char) for char in text[: most + 1])
    shown = shown.replace("##[", "#\\x23[")
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
