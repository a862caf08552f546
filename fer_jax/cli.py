"""The frame every script runs in: one clear line and exit code 2 for bad input, never a traceback.

if __name__ == "__main__":
    sys.exit(cli.run(main))
"""

import argparse
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fer_jax.errors import InputError


def run(main: Callable[[], int | None]) -> int:
    """Call `main`; its exit code, 2 after an `InputError` or a failed read or write, 130 after Ctrl-C."""
    try:
        with _warnings_in_one_line():
            code = main() or 0
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `... | head` closed our output: point stdout elsewhere so that its last flush is quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"error: {error.filename or 'input/output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def parse_eps(text: str) -> float:
    """A command line's eps: a number above 0, or a fraction such as 2/255.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    numerator, _, denominator = text.partition("/")
    try:
        value = float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0 or a fraction such as 2/255, got {text!r}")
    return value


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """A warning about somebody's data is for them to read: without the line of our code that raised it."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual
