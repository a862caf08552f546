"""Fetch the challenge's archive; what was cut is resumed, and nothing is installed before its
content is known.

    path = fetch(URL, Path("data"))  # data/challenges-in-...zip, 28,709 + 3,589 + 3,589 faces

While it arrives, the archive is a `.part` file that no reader takes for data. A `.part.json` beside
it says which version of which address the bytes belong to: only if the server still has that
version does the next try go on from there.
"""

import http.client
import json
import re
import ssl
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from tqdm import tqdm

from fer_jax import files
from fer_jax.data import sources
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS

URL = f"https://assets.01-edu.org/ai-branch/project3/{sources.ARCHIVE}"

_MAX_ARCHIVE = 1 << 30  # bytes; the CSV files of the archive have 0.6 GB before they are packed
_CHUNK = 1 << 18
# seconds before each new try; a flaky connection is given up after these
_DELAYS = (1, 2, 4, 8, 16)
_PROGRESS = 1 << 20  # bytes; a try that brought as many does not count as one
_STARTS = (b"PK\x03\x04", b"\x1f\x8b")  # zip, gzip
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP answers that may be another one in a moment


def fetch(
    origin: str,
    directory: Path,
    *,
    published: Mapping[str, tuple[int, ...]] = sources.PUBLISHED_CLASSES,
    timeout: float = 30,
    sleep: Callable[[float], object] = time.sleep,
) -> Path:
    """Install the archive at `origin` in `directory`, once it is known to hold FER-2013 as
    published.

    Args:
        origin: a file's path, or a file://, http:// or https:// URL.
        directory: where it goes, as the challenge's zip or as `fer2013.tar.gz`; a good one that is
            there already is left.
        published: rows of each emotion, by split, that the archive must hold.
        timeout: seconds that the server may be silent.
        sleep: waits between two tries.

    Raises:
        InputError: nothing there, something else, or a connection that keeps breaking (what has
            arrived is kept).
    """
    local, directory = _local(origin), Path(directory)
    if installed := _installed(directory, published):
        return installed
    directory.mkdir(parents=True, exist_ok=True)
    if local:
        return _copy(local, directory / check(local, published))
    part = _Part(directory / f"{sources.ARCHIVE}.part")
    _download(origin, part, timeout, sleep)
    return _install(origin, part, published)


def check(path: Path, published: Mapping[str, tuple[int, ...]] = sources.PUBLISHED_CLASSES) -> str:
    """Read a whole archive and compare its class counts; the name under which `fer_jax.data.load`
    finds such an archive.

    Raises:
        InputError: it is damaged, not FER-2013, or a count is not the published one (both are
            named).
    """
    source = sources.archive(path)
    if source is None:
        raise InputError(
            f"{path}: must hold train.csv, test.csv and icml_face_data.csv, or {sources.TAR}; it does not"
        )
    for usage, split in source.read().splits.items():
        counts = Counter(split.labels.tolist())
        if len(split.labels) != sum(published[usage]):
            raise InputError(
                f"{path}: must have {sum(published[usage]):,} {usage} rows, received {len(split.labels):,}"
            )
        for label, emotion in enumerate(EMOTIONS):
            if counts[label] != (wanted := published[usage][label]):
                raise InputError(
                    f"{path}: must have {wanted:,} {usage} rows of {emotion}, received {counts[label]:,}"
                )
    return sources.TAR if sources.is_gzip(path) else sources.ARCHIVE


def _local(origin: str) -> Path | None:
    """The file that `origin` names; None for an address on the web."""
    if "://" not in origin:
        path = Path(origin)
    else:
        try:
            url = urlsplit(origin)
        except ValueError as error:
            raise InputError(f"{origin!r}: must be a URL: {error}") from None
        if url.scheme in ("http", "https") and url.netloc:
            return None
        if url.scheme != "file" or url.netloc not in ("", "localhost"):
            raise InputError(f"{origin!r}: must be a file, or a file://, http:// or https:// URL")
        path = Path(urllib.request.url2pathname(url.path))
    if not path.is_file():
        raise InputError(f"{path}: must be an archive, there is no such file")
    return path


def _installed(directory: Path, published: Mapping[str, tuple[int, ...]]) -> Path | None:
    """The good archive of an earlier run."""
    for path in (directory / sources.ARCHIVE, directory / sources.TAR):
        if path.is_file():
            try:
                check(path, published)
            except InputError as error:
                _note(f"{error}; fetching it again")
            else:
                _note(f"{path} is there already")
                return path
    return None


def _copy(local: Path, target: Path) -> Path:
    # ends in no name that data have, should the machine stop
    temporary = target.with_name(f"{target.name}.copy")
    size = local.stat().st_size
    files.require_space(target.parent, size)
    try:
        with (
            local.open("rb") as source,
            temporary.open("wb") as stream,
            _progress("copy", size, 0) as bar,
        ):
            while data := source.read(_CHUNK):
                stream.write(data)
                bar.update(len(data))
        return temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _install(url: str, part: "_Part", published: Mapping[str, tuple[int, ...]]) -> Path:
    try:
        target = part.path.with_name(check(part.path, published))
    except InputError as error:
        part.discard()
        raise InputError(f"{url}{str(error).removeprefix(str(part.path))}") from None
    part.path.replace(target)
    part.discard()
    return target


# What has arrived


class _Version(NamedTuple):
    """What an address held when it was asked. validator: strong ETag or date, if the server gave
    one; size: in bytes.
    """

    url: str
    validator: str | None
    size: int | None


class _Part(NamedTuple):
    """The bytes that have arrived, and a side file that says of what."""

    path: Path

    @property
    def side(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self) -> _Version | None:
        """What the bytes belong to; None if they cannot be added to: no bytes, no validator, or a
        damaged side file.
        """
        try:
            version = _Version(**json.loads(self.side.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        typed = isinstance(version.validator, str) and isinstance(version.size, int | None)
        return version if typed and self.size else None

    def begin(self, version: _Version) -> None:
        """Forget the bytes, then name the new version: in this order, whenever the machine stops."""
        self.discard()
        with files.replacing(self.side) as temporary:
            temporary.write_text(json.dumps(version._asdict()))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.side.unlink(missing_ok=True)


# The transfer


class _Broken(Exception):
    """The transfer failed in a way that may pass; the message says how."""


class _Useless(_Broken):
    """... and what has arrived cannot be added to."""


def _download(url: str, part: _Part, timeout: float, sleep: Callable[[float], object]) -> None:
    """Try until `part` is as long as the server says; after each loss of the connection, wait
    longer.
    """
    tries, most = 0, 0
    while True:
        try:
            return _attempt(url, part, timeout)
        except _Broken as error:
            if isinstance(error, _Useless):
                part.discard()
            if part.size >= most + _PROGRESS:
                tries, most = 0, part.size
            if tries == len(_DELAYS):
                kept = (
                    f"; {part.size:,} bytes are kept, the same command goes on from there"
                    if part.version()
                    else ""
                )
                if not kept:
                    part.discard()
                raise InputError(f"{url}: {error}; gave up after {tries + 1} tries{kept}") from None
            _note(f"{url}: {error}; trying again in {_DELAYS[tries]} s")
            sleep(_DELAYS[tries])
            tries += 1
        finally:
            if not part.size:
                part.discard()


def _attempt(url: str, part: _Part, timeout: float) -> None:
    """Fetch what `part` lacks. Raises `_Broken` where another try may help, `InputError` where none
    will.
    """
    known = part.version()
    have = part.size
    if known and (known.url != url or (known.size is not None and have > known.size)):
        known = None
    if known and have == known.size:
        return
    headers = {"User-Agent": "fer_jax"}  # some servers refuse Python's own
    if known and known.validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.validator}
    with _network(url):
        response = _opener().open(urllib.request.Request(url, headers=headers), timeout=timeout)
    with response:
        start, served = _served(url, response)
        if response.status == http.client.PARTIAL_CONTENT:
            if not known or start != have or _differ(known, served):
                raise _Useless("the server sends other bytes than were asked for")
            served = known if served.size is None else served
        else:
            if have:
                changed = known and served.validator and _differ(known, served)
                _note(
                    f"{url}: {'the file has changed' if changed else 'the download cannot be resumed'}: starting anew"
                )
            part.begin(served)
        _append(url, response, part, served.size)


def _differ(known: _Version, served: _Version) -> bool:
    """Whether a validator or size that both have is not the same."""
    return any(
        a is not None and b is not None and a != b
        for a, b in zip(known[1:], served[1:], strict=True)
    )


def _served(url: str, response: http.client.HTTPResponse) -> tuple[int, _Version]:
    """The place of the answer's first byte, and the version that it belongs to."""
    validator = _validator(response.headers)
    if response.status == http.client.OK:
        return 0, _Version(url, validator, response.length)
    found = re.fullmatch(
        r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("Content-Range", "")
    )
    if response.status != http.client.PARTIAL_CONTENT or not found:
        raise _Useless(
            f"the server answers {response.status} {_line(response.reason)} without a file or a part of it"
        )
    return int(found[1]), _Version(url, validator, None if found[2] == "*" else int(found[2]))


def _validator(headers: Message) -> str | None:
    """What If-Range takes (RFC 9110, 13.1.5): an ETag that is not weak, else the date of the last
    change.
    """
    etag, date = headers.get("ETag"), headers.get("Last-Modified")
    found = etag if etag and not etag.startswith("W/") else date
    return found if found and found.isprintable() else None


def _append(url: str, response: http.client.HTTPResponse, part: _Part, size: int | None) -> None:
    """Write the answer behind what is there; `size` is that of the whole file, None where the
    server does not say.
    """
    have = part.size
    limit = _MAX_ARCHIVE if size is None else size
    if limit > _MAX_ARCHIVE:
        raise InputError(
            f"{url}: must have at most {_MAX_ARCHIVE:,} bytes, the server announces {limit:,}"
        )
    files.require_space(part.path.parent, limit - have)
    with part.path.open("ab") as stream, _progress("download", size, have) as bar:
        while data := _read(url, response):
            if not have and not any(data.startswith(start[: len(data)]) for start in _STARTS):
                kind = _line(response.headers.get("Content-Type", "something"))
                raise InputError(
                    f"{url}: must be the zip or {sources.TAR}, received {kind} that starts {data[:20]!r}"
                )
            have += len(data)
            if have > limit:
                break
            stream.write(data)
            bar.update(len(data))
    if have > limit:
        part.discard()
        raise InputError(f"{url}: must have at most {limit:,} bytes, received more")
    if not have or (size is not None and have < size):
        raise _Broken(f"received {have:,} of {size:,} bytes" if size else "received nothing")


def _read(url: str, response: http.client.HTTPResponse) -> bytes:
    with _network(url):
        # what is there: `read` would lose it if the connection broke before the chunk is full
        return response.read1(_CHUNK)


def _opener() -> urllib.request.OpenerDirector:
    """http and https alone, redirects included: urllib's default also follows them to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


@contextmanager
def _network(url: str) -> Iterator[None]:
    """What the network and the server do wrong, as `_Broken` if it may pass and as `InputError` if
    not.
    """
    try:
        yield
    except HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {_line(error.reason)}"
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _Useless(answer) from None
        if error.code in _PASSING:
            raise _Broken(answer) from None
        raise InputError(f"{url}: {answer}") from None
    except (http.client.InvalidURL, ValueError) as error:
        raise InputError(f"{url!r}: must be a URL: {_line(error)}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError) or "unknown url type" in str(reason):
            raise InputError(f"{url}: {_line(reason)}") from None
        raise _Broken(_line(reason) or type(reason).__name__) from None


def _line(text: object) -> str:
    """A server's words as part of one line."""
    return "".join(c for c in " ".join(str(text).split()) if c.isprintable())[:120]


def _progress(what: str, total: int | None, initial: int) -> tqdm:
    return tqdm(
        desc=what,
        total=total,
        initial=initial,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        leave=False,
        disable=None,
    )


def _note(text: str) -> None:
    print(f"note: {' '.join(text.split())}", file=sys.stderr)
