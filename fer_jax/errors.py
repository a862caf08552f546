"""What a user did wrong, said in one line; `fer_jax.cli.run` turns it into exit code 2."""


class InputError(ValueError):
    """Bad input. The message names the file (and the row), the rule and the value received, in one line.

    What does not print in a line (the names of files may hold line breaks and terminal commands) is written escaped.
    """

    def __init__(self, message: str):
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))
