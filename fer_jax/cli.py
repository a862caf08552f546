"""The frame every script runs in: one clear line and exit code 2 for bad input, never a traceback.

if __name__ == "__main__":
    sys.exit(cli.run(main))
"""

import argparse
import contextlib
import math
import os
import runpy
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from fer_jax import files, runtime
from fer_jax.errors import InputError, printable

# `fer-jax NAME` runs scripts/NAME.py, or the script that has a longer name.
COMMANDS = ("train", "predict", "live", "hack", "analyse", "preprocess", "attack-bench", "certify")
COMMANDS += ("corruption-bench", "robustness-table", "compare-runs", "describe-model")
COMMANDS += ("download-data", "prepare-data", "inspect-data")
_LONGER = {"live": "predict_live_stream", "hack": "hack_the_cnn", "analyse": "analyse_video"}


def main() -> int:
    """Run the script that `fer-jax NAME` names: from the wheel, or from the checkout's scripts/."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(f"usage: fer-jax COMMAND ...\n\ncommands: {', '.join(COMMANDS)}")
        print("\nexample:\n  fer-jax predict --images holiday.jpg\n  fer-jax live --help")
        return 0
    if name not in COMMANDS:
        print(f"error: unknown command {name!r}: known are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    packaged = Path(__file__).parent / "scripts"
    folder = packaged if packaged.is_dir() else files.root() / "scripts"
    script = runpy.run_path(str(folder / f"{_LONGER.get(name, name.replace('-', '_'))}.py"))
    sys.argv[:2] = [f"fer-jax {name}"]  # argparse prints it
    return run(script["main"], training=name == "train")


def run(main: Callable[[], int | None], training: bool = False) -> int:
    """Return `main`'s exit code, 2 after bad input or failed input/output, 128 + N by signal N."""
    runtime.configure(training)
    try:
        with _signals_raised(), _warnings_in_one_line():
            code = main() or 0
        sys.stdout.flush()
        return code
    # `... | head` closed our output: point stdout elsewhere so that its last flush is quiet
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except InputError as error:
        line, code = f"error: {error}", 2
    except OSError as error:
        line, code = f"error: {error.filename or 'input/output'}: {error.strerror or error}", 2
    except KeyboardInterrupt as interrupt:
        line, code = _with_notes("interrupted", interrupt), 130
    except _Stopped as stopped:
        (number,) = stopped.args
        line, code = _with_notes(f"ended by {number.name}", stopped), 128 + number
    with contextlib.suppress(OSError):  # the terminal may be gone: that is what SIGHUP tells
        print(line, file=sys.stderr)
    return code


def _with_notes(text: str, error: BaseException) -> str:
    """Append what those that an interrupt passed through had to say: how to go on, for example."""
    return ": ".join([text, *getattr(error, "__notes__", [])])


class _Parser(argparse.ArgumentParser):
    """A parser that answers bad options in one line, as everything else is answered."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {printable(message)} (--help shows the options)\n")


def parser(description: str | None, epilog: str = "") -> argparse.ArgumentParser:
    """Return a parser whose texts are printed as they are."""
    style = argparse.RawDescriptionHelpFormatter
    return _Parser(description=description, epilog=epilog, formatter_class=style)


def add_data(parser: argparse.ArgumentParser, text: str = "FER-2013") -> None:
    folder = files.root() / "data"
    text = f"{text} (default: {folder})"
    parser.add_argument("--data", type=Path, default=folder, metavar="DIR", help=text)


def add_model(parser: argparse.ArgumentParser) -> None:
    text = "model file (default: the shipped model)"
    parser.add_argument("--model", type=Path, metavar="FILE", help=text)


def parse_eps(text: str) -> float:
    """Return a command line's eps: a number above 0, or a fraction such as 2/255."""
    numerator, _, denominator = text.partition("/")
    divisor = _number(denominator or "1") or math.nan
    eps = _number(numerator) / divisor
    return _checked(eps, text, 0 < eps < math.inf, "a number above 0 or a fraction such as 2/255")


def parse_source(text: str) -> int | str:
    """Return a command line's video source: digits are a camera's index, the rest a file or URL."""
    return int(text) if text.isascii() and text.isdigit() else text


def parse_period(text: str) -> float:
    """Return a command line's period in seconds."""
    period = _number(text)
    rule = "a finite number of seconds above 0, at least 0.001"
    return _checked(period, text, 0.001 <= period < math.inf, rule)


def parse_probability(text: str) -> float:
    """Return a command line's probability."""
    probability = _number(text)
    return _checked(probability, text, 0 <= probability <= 1, "a number from 0 to 1")


def _checked(value: float, text: str, fits: bool, rule: str) -> float:
    if not fits:
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
    return value


def _number(text: str) -> float:
    """Return the number that `text` is, or nan, which fails every comparison."""
    try:
        return float(text)
    except ValueError:
        return math.nan


class _Stopped(BaseException):
    """The signal that is to end the process; nothing that handles errors is to swallow it."""


@contextmanager
def _signals_raised() -> Iterator[None]:
    """SIGTERM and SIGHUP end what runs here as Ctrl-C does: files are closed, temporary ones go.

    Later ones do not disturb that. Signals that somebody handles or ignores (nohup) stay theirs;
    only the main thread may handle any.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]
    process = os.getpid()

    def stop(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:  # a worker that was forked: its death is meant, not our end
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        for each in ours:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(signal.Signals(number))

    try:
        for number in ours:
            signal.signal(number, stop)
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """A warning about somebody's data is for them to read, without a line of our code."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual
