"""What a user did wrong, said in one line; `fer_jax.cli.main` turns it into exit code 2."""


class InputError(ValueError):
    """Bad input. The message names the file (and the row), the rule and the value received, in one line."""
