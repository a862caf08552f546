"""Ctrl-C and SIGTERM while a network trains: an answer within seconds, and no half-saved epoch.

with interrupts.answered("go on with --resume"):
    train(epoch)                         # ends here, at once or with the process
    with interrupts.deferred():
        save(epoch)                      # but not here
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fer_jax import files

PATIENCE = 4.0  # seconds that compiled code gets to return to Python
_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_SAVING = threading.RLock()


@contextmanager
def answered(advice: str) -> Iterator[None]:
    """End with the advice in the last line, and end the process where the main thread cannot.

    Python raises `KeyboardInterrupt` between two of its instructions. XLA compiles, and works
    through a step, within one: on a busy machine for longer than anybody wants to wait. So another
    thread, which the system wakes up at the signal, ends the process if it is still there after
    `PATIENCE` seconds. For programs, as it acts on the whole process; only the main thread may.
    """
    reader, writer = socket.socketpair()  # a pipe would not do on Windows
    writer.setblocking(False)
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    leaving = threading.Event()
    threading.Thread(target=_watch, args=(reader, leaving, advice), daemon=True).start()
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):  # KeyboardInterrupt, or what `cli` makes of SIGTERM
            error.add_note(advice)
            leaving.set()
        raise
    finally:
        signal.set_wakeup_fd(previous)
        writer.close()


def _watch(reader: socket.socket, leaving: threading.Event, advice: str) -> None:
    while number := reader.recv(1):
        if number[0] in _NUMBERS:
            time.sleep(PATIENCE)
            with _SAVING:
                if not leaving.is_set():  # else `cli` has printed it
                    name = signal.Signals(number[0]).name
                    print(f"ended by {name}: {advice}", file=sys.stderr, flush=True)
                os._exit(128 + number[0])
    reader.close()


@contextmanager
def deferred() -> Iterator[None]:
    """Hold signals back until the block has ended."""
    with files.undisturbed(), _SAVING:
        yield
