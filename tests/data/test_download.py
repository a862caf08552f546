"""The download against a server of our own that does what servers on the way to a large file do."""

import csv
import gzip
import http.server
import io
import json
import shutil
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_jax.data import archives, download, fer2013, sources, transfer
from fer_jax.errors import InputError

COUNTS = {
    "Training": (2, 1, 1, 3, 1, 1, 1),
    "PublicTest": (1,) * 7,
    "PrivateTest": (0, 0, 1, 1, 1, 0, 1),
}
ETAG = '"v1"'
Answer = Callable[[http.server.BaseHTTPRequestHandler], object]


def table(counts: dict[str, tuple[int, ...]], seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(("emotion", "pixels", "Usage"))
    for usage, classes in counts.items():
        for label in np.repeat(np.arange(7), classes):
            writer.writerow((label, " ".join(map(str, rng.integers(0, 256, 2304))), usage))
    return stream.getvalue()


def zipped(counts: dict[str, tuple[int, ...]] = COUNTS, seed: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fer2013.csv", table(counts, seed))
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    content = table(COUNTS).encode()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        info = tarfile.TarInfo("fer2013/fer2013.csv")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


GOOD = zipped()
HALF = len(GOOD) // 2
PAGE = b"<!DOCTYPE html><html><body>Not found</body></html>"


# What the server does with one request each


def send(
    content: bytes,
    *,
    status: int = 200,
    upto: int | None = None,
    length: int | None = -1,
    **headers: str,
) -> Answer:
    """The first `upto` bytes of `content` under a Content-Length of `length` (None: no such
    header).
    """

    def answer(request):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        if length is not None:
            request.send_header("Content-Length", str(len(content) if length == -1 else length))
        request.end_headers()
        request.wfile.write(content[:upto])

    return answer


def rest(
    content: bytes, *, etag: str | None = ETAG, upto: int | None = None, honest: bool = True
) -> Answer:
    """A server that knows ranges: the rest of `content` if If-Range names its version, else all of
    it.
    """

    def answer(request):
        asked, version = request.headers["Range"], request.headers["If-Range"]
        headers = {"ETag": etag} if etag else {}
        if asked and (version == etag or not honest):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            send(content[start:], status=206, upto=upto, **headers)(request)
        else:
            send(content, upto=upto, **headers)(request)

    return answer


def stall(content: bytes) -> Answer:
    """Half, then silence for as long as the client bears it."""

    def answer(request):
        send(content, upto=HALF, ETag=ETAG)(request)
        request.wfile.flush()
        request.connection.recv(1)

    return answer


def chunked(content: bytes, end: bytes = b"0\r\n\r\n") -> Answer:
    def answer(request):
        request.protocol_version = "HTTP/1.1"
        send(b"", length=None, Transfer_Encoding="chunked", Connection="close")(request)
        request.wfile.write(b"%x\r\n%s\r\n" % (len(content), content) + end)

    return answer


def redirect(location: str) -> Answer:
    return send(b"", status=302, Location=location)


class Server(http.server.HTTPServer):
    """Answers each request with the next of `answers`, the last for ever; keeps the requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Request)
        self.answers: list[Answer] = []
        self.asked: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/archive.zip"

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for headers in self.asked]


class Request(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        assert isinstance(server, Server)
        server.asked.append(dict(self.headers.items()))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        try:
            answer(self)
        except ConnectionError:  # the client has seen enough
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def fetch(server, tmp_path):
    """Fetch into `tmp_path` from a server with these answers; `fetch.waited` has the pauses."""
    waited: list[float] = []

    def call(*answers: Answer, timeout: float = 10, url: str = server.url) -> Path:
        server.answers[:] = answers
        return download.fetch(url, tmp_path, published=COUNTS, timeout=timeout, sleep=waited.append)

    call.waited = waited
    return call


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The transfer


def test_a_whole_archive_is_installed_and_found(fetch, server, tmp_path, capsys):
    path = fetch(rest(GOOD))
    assert path == tmp_path / archives.ARCHIVE and path.read_bytes() == GOOD
    assert left(tmp_path) == [archives.ARCHIVE]
    assert sources.find(tmp_path).files == (path,)
    assert (server.ranges, fetch.waited) == ([None], [])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_second_call_asks_no_server_and_a_damaged_archive_is_replaced(
    fetch, server, tmp_path, capsys
):
    path = fetch(rest(GOOD))
    fetch(rest(GOOD))
    assert len(server.asked) == 1
    assert capsys.readouterr().err == f"note: {path} is there already\n"
    path.write_bytes(GOOD[:HALF])
    assert fetch(rest(GOOD)).read_bytes() == GOOD
    assert "fetching it again" in capsys.readouterr().err


def test_a_tar_goes_under_its_own_name(fetch, tmp_path):
    assert fetch(rest(tarred())) == tmp_path / "fer2013.tar.gz"
    assert left(tmp_path) == ["fer2013.tar.gz"]
    assert len(sources.find(tmp_path).read().train.labels) == 10


def test_a_cut_download_goes_on_where_it_was_cut(fetch, server, capsys):
    path = fetch(rest(GOOD, upto=HALF), rest(GOOD, upto=100), rest(GOOD))
    assert path.read_bytes() == GOOD
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF + 100}-"]
    assert [headers.get("If-Range") for headers in server.asked] == [None, ETAG, ETAG]
    assert fetch.waited == [1, 2]
    err = capsys.readouterr().err.splitlines()
    assert (
        err[0]
        == f"note: {server.url}: received {HALF:,} of {len(GOOD):,} bytes; trying again in 1 s"
    )
    assert len(err) == 2


def test_a_date_is_a_version_where_there_is_no_strong_etag(fetch, server):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    fetch(send(GOOD, upto=HALF, ETag='W/"weak"', Last_Modified=date), rest(GOOD, etag=date))
    assert server.ranges == [None, f"bytes={HALF}-"]
    assert server.asked[1]["If-Range"] == date


def test_silence_is_a_cut(fetch, server):
    assert fetch(stall(GOOD), rest(GOOD), timeout=0.2).read_bytes() == GOOD
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_the_same_command_goes_on_after_it_gave_up(fetch, server, tmp_path):
    with pytest.raises(InputError) as error:
        fetch(rest(GOOD, upto=HALF), rest(GOOD, upto=0))
    assert str(error.value) == (
        f"{server.url}: received {HALF:,} of {len(GOOD):,} bytes; gave up after 6 tries; "
        f"{HALF:,} bytes are kept, the same command goes on from there"
    )
    assert fetch.waited == [1, 2, 4, 8, 16]
    with pytest.raises(InputError, match="no FER-2013 data"):
        sources.find(tmp_path)
    assert fetch(rest(GOOD)).read_bytes() == GOOD
    assert server.ranges[-1] == f"bytes={HALF}-"


def test_a_connection_that_keeps_bringing_something_is_not_given_up(fetch, server, monkeypatch):
    monkeypatch.setattr(transfer, "_PROGRESS", 1000)
    step = len(GOOD) // 20
    assert fetch(*[rest(GOOD, upto=step)] * 20, rest(GOOD)).read_bytes() == GOOD
    assert set(fetch.waited) == {1} and len(server.asked) == 21


def test_an_archive_that_was_complete_before_the_stop_is_not_asked_for(fetch, server, tmp_path):
    (tmp_path / f"{archives.ARCHIVE}.part").write_bytes(GOOD)
    side = {"url": server.url, "validator": ETAG, "size": len(GOOD)}
    (tmp_path / f"{archives.ARCHIVE}.part.json").write_text(json.dumps(side))
    assert fetch(send(b"", status=500)).read_bytes() == GOOD
    assert server.asked == [] and left(tmp_path) == [archives.ARCHIVE]


@pytest.mark.parametrize("version", [{"ETag": ETAG}, {}])
def test_without_ranges_the_download_starts_anew_and_says_so(
    version, fetch, server, tmp_path, capsys
):
    assert fetch(send(GOOD, upto=HALF, ETag=ETAG), send(GOOD, **version)).read_bytes() == GOOD
    assert server.ranges == [None, f"bytes={HALF}-"]
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"note: {server.url}: the download cannot be resumed: starting anew"
    ]
    assert left(tmp_path) == [archives.ARCHIVE]


def test_without_a_version_no_range_is_asked_for_and_nothing_is_kept(fetch, server, tmp_path):
    assert fetch(send(GOOD, upto=HALF), rest(GOOD, etag=None)).read_bytes() == GOOD
    assert server.ranges == [None, None]
    (tmp_path / archives.ARCHIVE).unlink()
    with pytest.raises(InputError, match=r"gave up after 6 tries$"):
        fetch(send(GOOD, upto=HALF))
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("etag", "honest", "said"),
    [
        ('"v2"', True, "the file has changed: starting anew"),
        # a part of the new file, whatever If-Range says
        ('"v2"', False, "other bytes than were asked for"),
        (None, False, "other bytes than were asked for"),  # told by its size
    ],
)
def test_a_file_that_changed_meanwhile_starts_anew(etag, honest, said, fetch, capsys):
    other = zipped(seed=1) + b"x"
    assert len(other) != len(GOOD)
    path = fetch(rest(GOOD, upto=HALF), rest(other, etag=etag, honest=honest))
    assert path.read_bytes() == other
    assert said in capsys.readouterr().err


def test_a_change_that_nothing_tells_is_told_by_the_content(fetch, tmp_path):
    with pytest.raises(InputError, match="must be a whole, unencrypted zip archive"):
        fetch(rest(GOOD, upto=HALF), rest(bytes(len(GOOD)), etag=None, honest=False))
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "said", ["bytes 0-9/10", "bytes 5-", "", "bytes 1-2/" + "9" * 5000, "lines 1-2/3"]
)
def test_strange_ranges_are_not_appended(said, fetch, server):
    strange = send(b"x" * 10, status=206, ETag=ETAG, Content_Range=said)
    assert fetch(rest(GOOD, upto=HALF), strange, rest(GOOD)).read_bytes() == GOOD
    assert server.ranges == [None, f"bytes={HALF}-", None]


def test_a_part_that_nobody_asked_for_is_refused(fetch, tmp_path):
    with pytest.raises(InputError, match="other bytes than were asked for; gave up after 6 tries"):
        fetch(send(GOOD, status=206, Content_Range=f"bytes 0-{len(GOOD) - 1}/{len(GOOD)}"))
    assert left(tmp_path) == []


def test_a_range_beyond_the_end_starts_anew(fetch, server):
    gone = send(b"", status=416, Content_Range="bytes */10")
    assert fetch(rest(GOOD, upto=HALF), gone, rest(GOOD)).read_bytes() == GOOD
    assert server.ranges == [None, f"bytes={HALF}-", None]


@pytest.mark.parametrize(
    "side", ["", "[]", "{}", '{"url": 1, "validator": 2, "size": "3"}', "other address", "too long"]
)
def test_a_part_of_something_else_is_not_added_to(side, fetch, server, tmp_path):
    known = {"url": server.url, "validator": ETAG, "size": 10 if side == "too long" else len(GOOD)}
    known["url"] = "http://elsewhere/" if side == "other address" else server.url
    (tmp_path / f"{archives.ARCHIVE}.part").write_bytes(b"x" * HALF)
    text = json.dumps(known) if side in ("other address", "too long") else side
    (tmp_path / f"{archives.ARCHIVE}.part.json").write_text(text)
    assert fetch(rest(GOOD)).read_bytes() == GOOD
    assert server.ranges == [None]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(status, fetch, tmp_path):
    assert fetch(send(PAGE, status=status), rest(GOOD)).read_bytes() == GOOD
    shutil.rmtree(tmp_path)
    with pytest.raises(InputError, match=f"the server answers {status} .*; gave up after 6 tries$"):
        fetch(send(PAGE, status=status))
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_refusal_is_final_and_keeps_what_had_arrived(status, fetch, server, tmp_path):
    with pytest.raises(
        InputError, match=rf"^{server.url}: the server answers {status} [A-Z]\w+"
    ) as error:
        fetch(send(PAGE, status=status))
    assert "\n" not in str(error.value) and left(tmp_path) == [] and fetch.waited == []
    with pytest.raises(InputError):
        fetch(rest(GOOD, upto=HALF), send(PAGE, status=status))
    assert fetch(rest(GOOD)).read_bytes() == GOOD
    assert server.ranges[-1] == f"bytes={HALF}-"


@pytest.mark.parametrize("length", [None, -1])
def test_a_whole_archive_of_unknown_size_is_fine(length, fetch):
    whole = send(GOOD, length=None) if length is None else chunked(GOOD)
    assert fetch(whole).read_bytes() == GOOD


def test_a_cut_that_no_header_tells_is_told_by_the_content(fetch, server, tmp_path):
    with pytest.raises(InputError, match=rf"^{server.url}: must be a whole, unencrypted zip"):
        fetch(send(GOOD, upto=HALF, length=None))
    assert left(tmp_path) == []


def test_a_cut_between_chunks_is_a_cut(fetch):
    assert fetch(chunked(GOOD[:HALF], end=b""), chunked(GOOD)).read_bytes() == GOOD
    assert fetch.waited == [1]


# The wrong thing


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            PAGE,
            "must be the zip or fer2013.tar.gz, received text/html that starts b'<!DOCTYPE html>",
        ),
        (b"emotion,pixels\n", "received text/html that starts"),
        (b"P", "must be a whole, unencrypted zip archive"),
        (b"PK\x03\x04" + bytes(500), "must be a whole, unencrypted zip archive"),
        (gzip.compress(PAGE, mtime=0), "must be a whole tar.gz archive"),
        (zipped({"Training": (1,) * 7}), "must have 10 Training rows, received 7"),
        (
            zipped(COUNTS | {"PrivateTest": (0, 0, 0, 2, 1, 0, 1)}),
            "must have 1 PrivateTest rows of fear, received 0",
        ),
    ],
)
def test_the_wrong_file_is_one_line_and_leaves_nothing(content, said, fetch, server, tmp_path):
    with pytest.raises(InputError) as error:
        fetch(send(content, Content_Type="text/html", ETag=ETAG))
    assert str(error.value).startswith(f"{server.url}: ") and said in str(error.value)
    assert "\n" not in str(error.value)
    assert left(tmp_path) == []


def test_another_zip_is_refused(fetch, tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("holiday.csv", "1")
    with pytest.raises(
        InputError,
        match=r"archive.zip: must hold train.csv, test.csv and icml_face_data.csv, or fer2013",
    ):
        fetch(send(stream.getvalue()))
    assert left(tmp_path) == []


def test_a_damaged_row_is_named_by_the_address(fetch, server, tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("fer2013.csv", "emotion,pixels,Usage\n7,1 2 3,Training\n")
    with pytest.raises(
        InputError, match=rf"^{server.url}/fer2013.csv:1: a row must have 2304 pixels"
    ):
        fetch(send(stream.getvalue()))
    assert left(tmp_path) == []


def test_nothing_at_all_is_refused(fetch, tmp_path):
    with pytest.raises(InputError, match=r"received nothing; gave up after 6 tries$"):
        fetch(send(b""))
    assert left(tmp_path) == []


@pytest.mark.parametrize("length", [5000, None])
def test_endless_files_are_refused(length, fetch, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "_MAX_FILE", 4000)
    with pytest.raises(
        InputError,
        match=r"must have at most 4,000 bytes, (the server announces 5,000|received more)",
    ):
        fetch(send(GOOD[:5000], length=length, ETag=ETAG))
    assert left(tmp_path) == []


def test_a_full_disk_is_told_before_the_download(fetch, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=len(GOOD) - 1))
    with pytest.raises(InputError, match=r"of free disk space"):
        fetch(rest(GOOD))
    assert left(tmp_path) == []


# Addresses


def test_redirects_are_followed_on_the_web_only(fetch, server, tmp_path):
    path = fetch(redirect("/elsewhere.zip"), rest(GOOD))
    assert path.read_bytes() == GOOD
    path.unlink()
    for location in ("ftp://127.0.0.1/x.zip", "file:///etc/passwd", server.url):
        with pytest.raises(InputError) as error:
            fetch(redirect(location))
        assert "\n" not in str(error.value) and left(tmp_path) == []


@pytest.mark.parametrize(
    "origin",
    [
        "ftp://host/x.zip",
        "data://x",
        "file://host/x.zip",
        "http://",
        "http://[::1",
        "http://127.0.0.1:port/x",
        "http://127.0.0.1/a b",
        "http://a..b/x",
        "absent.zip",
        "file:///absent.zip",
        ".",
    ],
)
def test_what_is_no_file_or_address_is_refused(origin, fetch, tmp_path):
    with pytest.raises(InputError) as error:
        fetch(rest(GOOD), url=origin)
    assert "\n" not in str(error.value) and left(tmp_path) == [] and fetch.waited == []


def test_nobody_listening_is_tried_again(fetch, server):
    with Server() as other:
        url = other.url  # its port is free again at the end of this block
    with pytest.raises(InputError, match=r"refused; gave up after 6 tries$"):
        fetch(rest(GOOD), url=url)


# Local files


@pytest.mark.parametrize("as_url", [False, True])
@pytest.mark.parametrize(
    ("content", "name"), [(GOOD, archives.ARCHIVE), (tarred(), "fer2013.tar.gz")]
)
def test_a_local_archive_is_checked_and_copied(as_url, content, name, fetch, tmp_path):
    local = tmp_path / "downloads" / "whatever it is called"
    local.parent.mkdir()
    local.write_bytes(content)
    data = tmp_path / "new" / "data"
    path = download.fetch(local.as_uri() if as_url else str(local), data, published=COUNTS)
    assert path == data / name and path.read_bytes() == content == local.read_bytes()
    assert left(data) == [name]


def test_a_wrong_local_archive_is_named_and_not_copied(tmp_path):
    local = tmp_path / "x.zip"
    local.write_bytes(GOOD)
    data = tmp_path / "data"
    with pytest.raises(InputError, match=r"x.zip: must have 28,709 Training rows, received 10$"):
        download.fetch(str(local), data)
    assert left(data) == []


def test_a_copy_that_fails_leaves_nothing(tmp_path, monkeypatch):
    local, data = tmp_path / "x.zip", tmp_path / "data"
    local.write_bytes(GOOD)

    def stop(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        download.fetch(str(local), data, published=COUNTS)
    assert left(data) == []


# The published figures


def test_published_classes_add_up():
    assert {
        usage: sum(classes) for usage, classes in fer2013.PUBLISHED_CLASSES.items()
    } == fer2013.PUBLISHED


def test_published_classes_are_those_of_the_real_labels(shared):
    path = shared / "data" / "fer2013" / "labels.csv"
    if not path.is_file():
        pytest.skip(f"no real data: {path} is not there")
    with path.open(newline="") as stream:
        counts = Counter((row["Usage"], int(row["emotion"])) for row in csv.DictReader(stream))
    for usage, classes in fer2013.PUBLISHED_CLASSES.items():
        assert tuple(counts[usage, label] for label in range(7)) == classes
