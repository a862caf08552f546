"""What a user did wrong, said in one line; `fer_jax.cli.run` turns it into exit code 2."""


def printable(text: str) -> str:
    """`text` in one line: what does not print (the names of files may hold line breaks, terminal
    commands and bytes that are no text) is written escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class InputError(ValueError):
    """Bad input. The message names the file (and the row), the rule and the value received, in one
    line.
    """

    def __init__(self, message: str):
        super().__init__(printable(message))
