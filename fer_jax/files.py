"""Write files whole or not at all: under a temporary name beside their place, then renamed.

with files.replacing(Path("metrics.json")) as temporary:
    temporary.write_text("...")
"""

import hashlib
import json
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_jax.errors import InputError

_CHECKOUT = Path(__file__).resolve().parents[1]


def root() -> Path:
    """Return the folder of data, results and runs: the checkout, or where we are without one."""
    if not (_CHECKOUT / "pyproject.toml").is_file():
        return Path()
    here = Path.cwd()
    inside = here.is_relative_to(_CHECKOUT)  # printed paths stay short
    return Path(os.path.relpath(_CHECKOUT, here)) if inside else _CHECKOUT


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path of the same suffix beside `path`, which it becomes on success.

    It is on the disk before it is renamed: not even a power cut leaves half a file. A system error
    that names no file (a full disk, at a write) is given `path`'s name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.stem}-{secrets.token_hex(4)}{path.suffix}"
    temporary.touch(exist_ok=False)  # not mkstemp, which makes private files
    try:
        yield temporary
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def appearing_in(folder: Path, earlier: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield a hidden folder, whose files move to `folder` on success and vanish on an error.

    They take the place of the `earlier` files, of which those that were not made again are deleted;
    no interrupt comes in between. The hidden folder lies in `folder`, or where that will be made.
    """
    with tempfile.TemporaryDirectory(prefix=".making-", dir=_existing(folder)) as work:
        yield Path(work)
        with undisturbed():
            folder.mkdir(parents=True, exist_ok=True)
            made = {path.replace(folder / path.name).name for path in list(Path(work).iterdir())}
            for path in earlier:
                if path.name not in made:
                    path.unlink()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C and other signals that would raise an error here until the block ends.

    Then the first of them is raised; none, if the block ends in an error of its own. Only the main
    thread can be disturbed.
    """
    waiting, before = [], {}
    if threading.current_thread() is threading.main_thread():
        known = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
        before = {number: signal.getsignal(number) for number in known}
        before = {number: handler for number, handler in before.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in waiting[:1]:
        signal.raise_signal(number)


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


def digest(path: Path) -> str:
    """Return the sha256 (hex) of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, values: Any) -> None:
    """Write builtins as indented JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; anything else is an InputError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: must be JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: must be a JSON object, received {type(values).__name__}")
    return values


def require_folder(folder: Path) -> None:
    """Check that files can be made in `folder`, or it itself with them; leave nothing behind."""
    existing = _existing(Path(folder))
    if not existing.is_dir():
        raise InputError(f"{folder}: must be a folder to write to, but {existing} is a file")
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to: {error.strerror or error}") from None


def require_ending(path: Path | None, *endings: str) -> None:
    """Check that the name of a file to write, if one is asked for, has one of the endings."""
    if path and path.suffix not in endings:
        raise InputError(f"{path}: must end in {' or '.join(endings)}, received {path.suffix!r}")


def require_space(folder: Path, needed: int) -> None:
    """Check that `folder` has `needed` bytes free: libraries report a full disk in many ways."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        size = f"{needed / 2**20:,.0f} MiB of free disk space"
        raise InputError(f"{folder}: needs {size}, has {free / 2**20:,.0f} MiB")
