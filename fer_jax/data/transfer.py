"""Bring a file over http or https; a transfer that was cut goes on where it was cut.

While the file arrives it is a `.part` file, which no reader takes for data. A `.part.json` beside
it says which version of which address the bytes belong to: the next try goes on from there only if
the server still has that version.
"""

import http.client
import re
import ssl
import urllib.request as web
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError

from tqdm import tqdm

from fer_jax import files
from fer_jax.errors import InputError, note

_BAR = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "leave": False, "disable": None}

_MAX_FILE = 1 << 30  # bytes; the challenge's CSV files have 0.6 GB before they are packed
_CHUNK = 1 << 18
_DELAYS = (1, 2, 4, 8, 16)  # seconds before each new try; the last try comes after these
_PROGRESS = 1 << 20  # bytes; a try that brought as many does not count as one
_STARTS = (b"PK\x03\x04", b"\x1f\x8b")  # zip, gzip
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP answers that may be another one in a moment


class _Version(NamedTuple):
    """What an address held: its strong ETag or date, and its bytes, where the server told them."""

    url: str
    validator: str | None
    size: int | None

    def differs(self, other: "_Version") -> bool:
        """Return whether a validator or size that both have is not the same."""
        pairs = zip(self[1:], other[1:], strict=True)
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)


class Part(NamedTuple):
    """The bytes that have arrived at `path`, and a side file that says of what."""

    path: Path

    @property
    def side(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self) -> _Version | None:
        """Return what the bytes belong to; None if they cannot be added to."""
        try:
            version = _Version(**files.read_json(self.side))
        except (OSError, ValueError, TypeError):
            return None
        typed = isinstance(version.validator, str) and isinstance(version.size, int | None)
        return version if typed and self.size else None

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.side.unlink(missing_ok=True)


class _Broken(Exception):
    """The transfer failed in a way that may pass; the message says how."""


class _Useless(_Broken):
    """... and what has arrived cannot be added to."""


def download(url: str, part: Part, timeout: float, sleep: Callable[[float], object]) -> None:
    """Try until `part`, a zip or a gzip file, is whole; after each lost connection, wait longer."""
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
                kept = f"; {part.size:,} bytes are kept, the same command goes on from there"
                if not part.version():
                    part.discard()
                    kept = ""
                raise InputError(f"{url}: {error}; gave up after {tries + 1} tries{kept}") from None
            note(f"{url}: {error}; trying again in {_DELAYS[tries]} s")
            sleep(_DELAYS[tries])
            tries += 1
        finally:
            if not part.size:
                part.discard()


def _attempt(url: str, part: Part, timeout: float) -> None:
    """Fetch what `part` lacks: `_Broken` where another try may help, `InputError` where not."""
    known, have = part.version(), part.size
    if known and (known.url != url or (known.size is not None and have > known.size)):
        known = None
    if known and have == known.size:
        return
    headers = {"User-Agent": "fer_jax"}  # some servers refuse Python's own
    if known and known.validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.validator}
    with _network(url):
        response = _opener().open(web.Request(url, headers=headers), timeout=timeout)
    with response:
        start, served = _served(url, response)
        if response.status == http.client.PARTIAL_CONTENT:
            if not known or start != have or known.differs(served):
                raise _Useless("the server sends other bytes than were asked for")
            served = known if served.size is None else served
        else:
            if have:
                changed = known and served.validator and known.differs(served)
                why = "the file has changed" if changed else "the download cannot be resumed"
                note(f"{url}: {why}: starting anew")
            part.discard()  # the bytes before they get another name, should the machine stop
            files.write_json(part.side, served._asdict())
        _append(url, response, part, served.size)


def _served(url: str, response: http.client.HTTPResponse) -> tuple[int, _Version]:
    """The place of the answer's first byte, and the version that it belongs to."""
    etag, validator = (response.headers.get(name) for name in ("ETag", "Last-Modified"))
    if etag and not etag.startswith("W/"):  # what If-Range takes: RFC 9110, 13.1.5
        validator = etag
    if not (validator and validator.isprintable()):
        validator = None
    if response.status == http.client.OK:
        return 0, _Version(url, validator, response.length)
    pattern = r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)"
    span = re.fullmatch(pattern, response.headers.get("Content-Range", ""))
    if response.status != http.client.PARTIAL_CONTENT or not span:
        answer = f"{response.status} {_line(response.reason)}"
        raise _Useless(f"the server answers {answer} without a file or a part of it")
    return int(span[1]), _Version(url, validator, None if span[2] == "*" else int(span[2]))


def _append(url: str, response: http.client.HTTPResponse, part: Part, size: int | None) -> None:
    """Write the answer behind what is there; `size`: of the whole file, None where not known."""
    have = part.size
    limit = _MAX_FILE if size is None else size
    if limit > _MAX_FILE:
        rule = f"must have at most {_MAX_FILE:,} bytes"
        raise InputError(f"{url}: {rule}, the server announces {limit:,}")
    files.require_space(part.path.parent, limit - have)
    bar = tqdm(desc="download", total=size, initial=have, **_BAR)
    with part.path.open("ab") as stream, bar:
        while True:
            with _network(url):  # `read` would lose what is there if the connection broke
                data = response.read1(_CHUNK)
            if not data:
                break
            if not have and not any(data.startswith(start[: len(data)]) for start in _STARTS):
                kind = _line(response.headers.get("Content-Type", "something"))
                received = f"{kind} that starts {data[:20]!r}"
                raise InputError(f"{url}: must be the zip or fer2013.tar.gz, received {received}")
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


def _opener() -> web.OpenerDirector:
    """http and https alone, redirects included: urllib's default also follows them to ftp."""
    opener = web.OpenerDirector()
    schemes = (web.ProxyHandler, web.HTTPHandler, web.HTTPSHandler, web.UnknownHandler)
    answers = (web.HTTPRedirectHandler, web.HTTPDefaultErrorHandler, web.HTTPErrorProcessor)
    for handler in schemes + answers:
        opener.add_handler(handler())
    return opener


@contextmanager
def _network(url: str) -> Iterator[None]:
    """Turn what network and server do wrong into `_Broken` if it may pass, else `InputError`."""
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
