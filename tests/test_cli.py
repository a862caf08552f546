import argparse
import errno
import warnings

import pytest

from fer_jax import cli
from fer_jax.errors import InputError


def fails_with(error):
    def main():
        raise error

    return main


def test_a_clean_run_returns_its_own_code():
    assert cli.run(lambda: None) == 0
    assert cli.run(lambda: 1) == 1


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (InputError("train.csv:7: a pixel must be in 0..255, received 256"), "train.csv:7", 2),
        (OSError(errno.ENOSPC, "No space left on device", "out.csv"), "out.csv: No space left on device", 2),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_an_error_is_one_line_on_stderr(capsys, error, line, code):
    assert cli.run(fails_with(error)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert line in captured.err
    assert captured.err.count("\n") == 1


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: 1 // 0)


def test_a_warning_is_one_line_without_our_source():
    usual, shown = warnings.formatwarning, []

    def main():
        shown.append(warnings.formatwarning(UserWarning("fer2013.csv: 5 rows"), UserWarning, "data.py", 7))

    cli.run(main)
    assert shown == ["warning: fer2013.csv: 5 rows\n"]
    assert warnings.formatwarning is usual


@pytest.mark.parametrize("text", ["0", "-1", "x", "1/0", "nan", "inf", "", "1/2/3"])
def test_eps_must_be_a_positive_number_or_fraction(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be a number above 0 or a fraction"):
        cli.parse_eps(text)
    assert cli.parse_eps("2/255") == 2 / 255
    assert cli.parse_eps("0.5") == 0.5
