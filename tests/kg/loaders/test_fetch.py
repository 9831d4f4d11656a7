"""Fetching against a real server on this machine; only the answers of DNS are made up."""

from __future__ import annotations

import gzip
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kg.errors import ConfigError, LimitExceededError, UnreadableFileError, UnsafePathError, UnsupportedFileError
from kg.limits import FetchLimits, LoadLimits
from kg.loaders.discover import discover
from kg.loaders.fetch import Fetcher, is_url
from kg.loaders.registry import LoaderRegistry, default_loaders
from kg.types import RawFile
from tests.kg.loaders.conftest import picture_bytes

PAGE = b"<html><head><title>Tides</title></head><body><p>High water.</p><img src='/box.png'></body></html>"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hosts: list[str] = []
    stop = threading.Event()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _send(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.hosts.append(self.headers["Host"])
        port = self.server.server_address[1]
        answers = {
            "/page": lambda: self._send(PAGE, Content_Type="application/octet-stream"),
            "/box.png": lambda: self._send(picture_bytes()),
            "/latin": lambda: self._send("<p>Größe</p>".encode("latin-1"), Content_Type="text/html; charset=latin-1"),
            "/gzip": lambda: self._send(gzip.compress(PAGE), Content_Encoding="gzip"),
            "/deflate": lambda: self._send(zlib.compress(PAGE), Content_Encoding="deflate"),
            "/bomb": lambda: self._send(gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip"),
            "/twice": lambda: self._send(gzip.compress(PAGE), Content_Encoding="gzip, gzip"),
            "/broken": lambda: self._send(b"\x1f\x8bnothing", Content_Encoding="gzip"),
            "/moved": lambda: self._send(b"", 302, Location="/page#part"),
            "/loop": lambda: self._send(b"", 301, Location="/loop"),
            "/inward": lambda: self._send(b"", 307, Location=f"http://inside.example:{port}/page"),
            "/metadata": lambda: self._send(b"", 302, Location="http://169.254.169.254/latest/meta-data"),
            "/file": lambda: self._send(b"", 302, Location="file:///etc/passwd"),
            "/endless": self._endless,
            "/drip": self._drip,
        }
        answers.get(self.path, lambda: self._send(b"gone", 404))()

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while not self.stop.is_set():
                self.wfile.write(b"x" * 100_000)
        self.close_connection = True

    def _drip(self) -> None:
        """Send a header line at a time, for ever: no single read ever waits long."""
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self.stop.wait(0.05):
                self.wfile.write(b"X: y\r\n")
        self.close_connection = True


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Handler.stop.clear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    Handler.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


def fetcher(**limits: object) -> Fetcher:
    return Fetcher(FetchLimits(allow_private=True, **limits))


def test_page_is_read_by_its_bytes_and_its_source_is_the_address(port):
    raw = fetcher().raw(f"http://127.0.0.1:{port}/page#section")

    assert (raw.media_type, raw.name, raw.source) == ("text/html", "page", f"http://127.0.0.1:{port}/page")
    assert raw.data == PAGE


def test_local_address_is_refused_unless_a_setting_allows_it(port):
    with pytest.raises(UnsafePathError, match=r"127\.0\.0\.1, which is local, private or reserved"):
        Fetcher(FetchLimits()).raw(f"http://127.0.0.1:{port}/page")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"]
    + ["224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1"]
    + ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "fec0::1", "nonsense"],
)
def test_no_private_address_is_connected_to_whatever_it_is_called(address):
    seen = []

    def resolve(host, port):
        seen.append(host)
        return ["93.184.215.14", address]  # one public address beside it does not help

    with pytest.raises(UnsafePathError):
        Fetcher(FetchLimits(), resolve=resolve).fetch("https://tides.example/")
    assert seen == ["tides.example"]


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "localhost", "[::1]", "[::ffff:7f00:1]"])
def test_other_spellings_of_this_machine_are_refused(host):
    with pytest.raises((UnsafePathError, UnreadableFileError, UnsupportedFileError)):
        Fetcher(FetchLimits(connect_timeout_s=1)).fetch(f"http://{host}:9/")


def test_connection_goes_to_the_address_that_was_checked_and_the_host_name_stays(port):
    answers = iter([["127.0.0.1"], ["203.0.113.9"]])  # a second look would find another address
    Handler.hosts.clear()

    fetched = Fetcher(FetchLimits(allow_private=True), resolve=lambda host, port: next(answers)).fetch(
        f"http://tides.example:{port}/page"
    )

    assert fetched.data == PAGE
    assert Handler.hosts == [f"tides.example:{port}"]


def test_each_redirect_is_resolved_and_checked_again(port, monkeypatch):
    checked = []

    def is_public(address):
        checked.append(address)
        return address == "127.0.0.1"  # stands for a public server, which a test cannot reach

    monkeypatch.setattr("kg.loaders.fetch._is_public", is_public)
    names = {"outside.example": ["127.0.0.1"], "inside.example": ["10.0.0.7"], "169.254.169.254": ["169.254.169.254"]}
    client = Fetcher(FetchLimits(), resolve=lambda host, port: names[host])

    with pytest.raises(UnsafePathError, match=r"'inside\.example' is the address 10\.0\.0\.7"):
        client.fetch(f"http://outside.example:{port}/inward")
    with pytest.raises(UnsafePathError, match="169"):
        client.fetch(f"http://outside.example:{port}/metadata")
    assert checked == ["127.0.0.1", "10.0.0.7", "127.0.0.1", "169.254.169.254"]


def test_redirect_is_followed_to_its_canonical_address(port):
    assert fetcher().raw(f"http://127.0.0.1:{port}/moved").source == f"http://127.0.0.1:{port}/page"


def test_redirects_end_and_lead_to_no_other_scheme(port):
    with pytest.raises(LimitExceededError, match="max_redirects = 5"):
        fetcher().fetch(f"http://127.0.0.1:{port}/loop")
    with pytest.raises(LimitExceededError, match="max_redirects = 0"):
        fetcher(max_redirects=0).fetch(f"http://127.0.0.1:{port}/moved")
    with pytest.raises(UnsupportedFileError, match="only http and https"):
        fetcher().fetch(f"http://127.0.0.1:{port}/file")


@pytest.mark.parametrize("url", ["ftp://a.example/x", "http://", "http:///x", "https://exa mple/", "http://[::1", "x"])
def test_what_is_no_web_address_is_refused(url):
    with pytest.raises((UnsupportedFileError, UnreadableFileError)):
        fetcher().fetch(url)


def test_body_without_end_stops_at_the_size_limit(port):
    with pytest.raises(LimitExceededError, match=r"fetch\.max_bytes = 1000000"):
        fetcher(max_bytes=1_000_000).fetch(f"http://127.0.0.1:{port}/endless")


def test_compressed_body_is_counted_as_it_expands(port):
    with pytest.raises(LimitExceededError, match=r"fetch\.max_bytes = 1000000"):
        fetcher(max_bytes=1_000_000).fetch(f"http://127.0.0.1:{port}/bomb")


@pytest.mark.parametrize("path", ["gzip", "deflate"])
def test_compressed_page_is_expanded(port, path):
    assert fetcher().fetch(f"http://127.0.0.1:{port}/{path}").data == PAGE


def test_encodings_that_were_not_asked_for_or_are_broken_are_refused(port):
    with pytest.raises(UnsupportedFileError, match="gzip, gzip"):
        fetcher().fetch(f"http://127.0.0.1:{port}/twice")
    with pytest.raises(UnreadableFileError, match="cannot be expanded"):
        fetcher().fetch(f"http://127.0.0.1:{port}/broken")


def test_server_that_drips_header_lines_is_left_when_the_time_is_spent(port):
    with pytest.raises(LimitExceededError, match=r"fetch\.timeout_s = 0\.5 s"):
        fetcher(timeout_s=0.5).fetch(f"http://127.0.0.1:{port}/drip")


def test_server_that_never_answers_is_left_when_the_time_is_spent():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(LimitExceededError, match=r"fetch\.timeout_s = 0\.3 s"):
            fetcher(timeout_s=0.3).fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/")


def test_refusal_and_closed_port_say_what_happened(port):
    with pytest.raises(UnreadableFileError, match="status 404"):
        fetcher().fetch(f"http://127.0.0.1:{port}/none")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
    with pytest.raises(UnreadableFileError, match="cannot be fetched"):
        fetcher().fetch(f"http://127.0.0.1:{closed}/")


def test_encoding_that_the_server_names_is_believed(port):
    raw = fetcher().raw(f"http://127.0.0.1:{port}/latin")

    assert load(raw).text == "Größe"


def load(raw: RawFile, fetch: FetchLimits | None = None):
    limits = LoadLimits()
    return LoaderRegistry(default_loaders(limits, fetch=fetch), limits).load(raw)


def test_pictures_of_a_page_are_fetched_only_where_that_is_set(port):
    raw = fetcher().raw(f"http://127.0.0.1:{port}/page")

    assert load(raw).metadata["pictures_left_out"] == "1 unreadable"
    assert load(raw, FetchLimits(allow_private=True)).assets == ()
    assert len(load(raw, FetchLimits(allow_private=True, images=True)).assets) == 1
    refused = load(raw, FetchLimits(images=True))
    assert refused.metadata["pictures_left_out"] == "1 unsafe_path"


def test_page_on_disk_fetches_no_pictures_even_where_that_is_set(tmp_path, port):
    (tmp_path / "p.html").write_text(f"<p>Words.</p><img src='http://127.0.0.1:{port}/box.png'>")
    (candidate,) = discover([tmp_path / "p.html"], limits=LoadLimits())

    (raw,) = candidate.read()

    assert load(raw, FetchLimits(allow_private=True, images=True)).metadata["pictures_left_out"] == "1 unsupported"


def test_address_among_the_paths_is_fetched_when_its_turn_comes(tmp_path, port):
    (tmp_path / "a.txt").write_text("words")
    url = f"http://127.0.0.1:{port}/page"

    candidates = discover([tmp_path, url, url], limits=LoadLimits(), fetch=FetchLimits(allow_private=True))
    by_default = discover([url], limits=LoadLimits())

    assert [item.name for candidate in candidates for item in candidate.read()] == ["a.txt", "page"]
    assert [item.error_code for candidate in by_default for item in candidate.read()] == ["unsafe_path"]


def test_windows_paths_and_globs_are_no_addresses():
    assert [is_url(text) for text in ("C:\\a", "https:", "docs/http://x", "HTTPS://x.y")] == [False, False, False, True]


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"max_redirects": -1}, {"user_agent": "a\r\nb"}])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match="FetchLimits"):
        FetchLimits(**wrong)
