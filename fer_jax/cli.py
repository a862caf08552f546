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

from fer_jax import files, runtime
from fer_jax.errors import InputError

# `fer-jax NAME` runs this script of scripts/.
COMMANDS = {
    "train": "train",
    "predict": "predict",
    "live": "predict_live_stream",
    "hack": "hack_the_cnn",
    "analyse": "analyse_video",
    "preprocess": "preprocess",
    "attack-bench": "attack_bench",
    "certify": "certify",
    "corruption-bench": "corruption_bench",
    "robustness-table": "robustness_table",
    "compare-runs": "compare_runs",
    "describe-model": "describe_model",
    "download-data": "download_data",
    "prepare-data": "prepare_data",
    "inspect-data": "inspect_data",
}


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
    sys.argv[:2] = [f"fer-jax {name}"]
    runpy.run_path(str(folder / f"{COMMANDS[name]}.py"), run_name="__main__")
    return 0  # not reached: a script ends in sys.exit


def run(main: Callable[[], int | None], training: bool = False) -> int:
    """Call `main`; its exit code, 2 after an `InputError` or a failed read or write, 128 + N after
    signal N.
    """
    runtime.configure(training)
    try:
        with _signals_raised(), _warnings_in_one_line():
            code = main() or 0
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # `... | head` closed our output: point stdout elsewhere so that its last flush is quiet
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(
            f"error: {error.filename or 'input/output'}: {error.strerror or error}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt as interrupt:
        print(_with_notes("interrupted", interrupt), file=sys.stderr)
        return 130
    except _Stopped as stopped:
        with contextlib.suppress(OSError):  # the terminal may be gone: that is what SIGHUP tells
            print(_with_notes(f"ended by {stopped.number.name}", stopped), file=sys.stderr)
        return 128 + stopped.number


def _with_notes(text: str, error: BaseException) -> str:
    """Append what those that an interrupt passed through had to say: how to go on, for example."""
    return ": ".join([text, *getattr(error, "__notes__", [])])


def parser(description: str | None, epilog: str = "") -> argparse.ArgumentParser:
    """Return a parser whose texts are printed as they are."""
    style = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, epilog=epilog, formatter_class=style)


def add_data(parser: argparse.ArgumentParser) -> None:
    folder = {"default": files.root() / "data", "metavar": "DIR"}
    parser.add_argument("--data", type=Path, **folder, help="FER-2013 (default: data)")


def add_model(parser: argparse.ArgumentParser) -> None:
    text = "model file (default: the shipped model)"
    parser.add_argument("--model", type=Path, metavar="FILE", help=text)


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
        raise argparse.ArgumentTypeError(
            f"must be a number above 0 or a fraction such as 2/255, got {text!r}"
        )
    return value


def parse_source(text: str) -> int | str:
    """Return a command line's video source: digits are a camera's index, the rest a file or URL."""
    return int(text) if text.isascii() and text.isdigit() else text


def parse_period(text: str) -> float:
    """Return a command line's period in seconds.

    Raises:
        argparse.ArgumentTypeError: not a finite number, or below 0.001.
    """
    period = _number(text)
    if not 0.001 <= period < math.inf:
        rule = "must be a finite number of seconds above 0, at least 0.001"
        raise argparse.ArgumentTypeError(f"{rule}, got {text!r}")
    return period


def parse_probability(text: str) -> float:
    """Return a command line's probability.

    Raises:
        argparse.ArgumentTypeError: not a number from 0 to 1.
    """
    probability = _number(text)
    if not 0 <= probability <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text!r}")
    return probability


def _number(text: str) -> float:
    """Return the number that `text` is, or nan, which fails every comparison."""
    try:
        return float(text)
    except ValueError:
        return math.nan


class _Stopped(BaseException):
    """Somebody wants the process to end; nothing that handles errors is to swallow it."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _signals_raised() -> Iterator[None]:
    """SIGTERM and SIGHUP end what runs here as Ctrl-C does: files are closed, temporary ones
    removed.

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
    """A warning about somebody's data is for them to read: without the line of our code that raised
    it.
    """
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual
