"""What a user is told in one line: of bad input, or of what went otherwise than asked."""

import sys


def printable(text: str) -> str:
    """Return `text` in one line: names of files may hold line breaks and terminal commands."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def note(text: object) -> None:
    """Print a line on stderr about something that the program goes on without."""
    print(f"note: {printable(' '.join(str(text).split()))}", file=sys.stderr)


class InputError(ValueError):
    """Bad input: a line with file (and row), rule and value; `cli.run` makes it exit code 2."""

    def __init__(self, message: str):
        super().__init__(printable(message))
