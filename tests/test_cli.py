import argparse
import errno
import os
import signal
import subprocess
import sys
import threading
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
        (
            OSError(errno.ENOSPC, "No space left on device", "out.csv"),
            "out.csv: No space left on device",
            2,
        ),
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
        shown.append(
            warnings.formatwarning(UserWarning("fer2013.csv: 5 rows"), UserWarning, "data.py", 7)
        )

    cli.run(main)
    assert shown == ["warning: fer2013.csv: 5 rows\n"]
    assert warnings.formatwarning is usual


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_is_named_in_its_help(monkeypatch, capsys, name):
    prepared = []
    monkeypatch.setattr(cli.runtime, "configure", prepared.append)
    monkeypatch.setattr(sys, "argv", ["/bin/fer-jax", name, "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0 and prepared == [name == "train"]
    assert capsys.readouterr().out.startswith(f"usage: fer-jax {name} [-h]")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_an_unknown_option_is_one_line(monkeypatch, capsys, name):
    monkeypatch.setattr(cli.runtime, "configure", lambda training: None)
    monkeypatch.setattr(sys, "argv", ["fer-jax", name, "--dance\n\x1b[31m"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.endswith(" (--help shows the options)\n")
    assert line.count("\n") == 1


def test_an_unknown_command_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fer-jax", "dance"])
    assert cli.main() == 2
    assert capsys.readouterr().err.startswith("error: unknown command 'dance': known are train, ")


@pytest.mark.parametrize("text", ["0", "-1", "x", "1/0", "nan", "inf", "", "1/2/3"])
def test_eps_must_be_a_positive_number_or_fraction(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be a number above 0 or a fraction"):
        cli.parse_eps(text)
    assert cli.parse_eps("2/255") == 2 / 255
    assert cli.parse_eps("0.5") == 0.5


def test_parse_source():
    texts = ("0", "12", "a.mp4", "./0", "²", "rtsp://host/1")
    assert [cli.parse_source(text) for text in texts] == [0, 12, *texts[2:]]


def test_parse_period():
    assert cli.parse_period("0.25") == 0.25
    for text in ("0", "-1", "nan", "inf", "one", "", "1e-310"):
        with pytest.raises(argparse.ArgumentTypeError, match="seconds above 0"):
            cli.parse_period(text)


def test_parse_probability():
    assert [cli.parse_probability(text) for text in ("0", "0.5", "1")] == [0, 0.5, 1]
    for text in ("-0.1", "1.1", "50%", "nan", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 1"):
            cli.parse_probability(text)


def ends_by(number, ended):
    def main():
        try:
            signal.raise_signal(number)
        finally:
            # one who is impatient does not disturb what is being finished
            signal.raise_signal(number)
            ended.append(number)

    return main


SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_program_in_order(usual_signals, capsys, number):
    ended = []
    assert cli.run(ends_by(number, ended)) == 128 + number
    assert ended == [number]
    assert capsys.readouterr().err == f"ended by {number.name}\n"
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_signal_that_somebody_ignores_or_handles_stays_theirs():
    """As under nohup, whose program outlives its terminal."""
    before, caught = signal.getsignal(signal.SIGTERM), []
    try:
        for theirs in (signal.SIG_IGN, lambda number, _: caught.append(number)):
            signal.signal(signal.SIGTERM, theirs)
            assert cli.run(lambda: signal.raise_signal(signal.SIGTERM)) == 0
            assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught == [signal.SIGTERM]


def test_another_thread_runs_without_signals():
    codes = []
    thread = threading.Thread(target=lambda: codes.append(cli.run(lambda: 3)))
    thread.start()
    thread.join()
    assert codes == [3]


FORKING = """
import os, signal
from fer_jax import cli

def main():
    worker = os.fork()
    if worker == 0:
        signal.raise_signal(signal.SIGTERM)
        os._exit(7)
    assert os.WTERMSIG(os.waitpid(worker, 0)[1]) == signal.SIGTERM

raise SystemExit(cli.run(main))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_forked_worker_dies_of_the_signal(root):
    done = subprocess.run([sys.executable, "-c", FORKING], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
