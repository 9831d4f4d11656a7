"""Files from the web: one GET, with limits on size, time and redirects, and never to a private address.

Layer: ``kg``; httpx for addresses and certificates, httpcore for the connection. The host name is resolved here, every
address that it has is checked, and the connection is made to the address that was checked, so that a name which
resolves differently a moment later (DNS rebinding) gains nothing; certificates are checked against the name all the
same. Each redirect is a new address to check. Proxies of the environment are not used, for they would resolve names
themselves.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kg.errors import (
    FetchError,
    LimitExceededError,
    LoadError,
    UnreadableFileError,
    UnsafePathError,
    UnsupportedFileError,
)
from kg.limits import FetchLimits
from kg.loaders.raw import raw_from_bytes
from kg.loaders.sniff import HTML
from kg.types import RawFile

if TYPE_CHECKING:
    import httpcore
    import httpx

__all__ = ["Fetched", "Fetcher", "Resolve", "is_url", "resolve_host"]

Resolve = Callable[[str, int], Sequence[str]]
"""Gives the addresses of a host name and port, as text."""

_URL = re.compile(r"https?://[^\s]", re.IGNORECASE)
_PASSING = frozenset({408, 425, 429})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STEP_BYTES = 64 * 1024
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ACCEPT = "text/html,application/xhtml+xml,application/pdf,image/*,text/*;q=0.9,*/*;q=0.5"


def is_url(text: str) -> bool:
    """Return whether an argument of a command line is an address to fetch."""
    return _URL.match(text) is not None


def resolve_host(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system resolves it.

    :param host: A name or an address.
    :param port: The port.
    :returns: IPv4 and IPv6 addresses in the system's order.
    :raises OSError: If the name does not resolve.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _is_public(address: str) -> bool:
    """Return whether an address is one of the open internet, looking through IPv4 inside IPv6."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(str(inner))
        if ip.is_site_local:
            return False
    # ``is_global`` leaves out loopback, link-local (169.254.169.254 too), private and shared (CGNAT) networks,
    # documentation, reserved and unspecified ones; multicast it lets pass.
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came: ``url`` is where it came from in the end, ``charset`` what the server says of its encoding."""

    url: str
    data: bytes
    media_type: str
    charset: str


class _Clock:
    """The one deadline of a fetch, redirects included."""

    def __init__(self, limits: FetchLimits, url: str) -> None:
        self._limits = limits
        self._url = url
        self._end_s = time.monotonic() + limits.timeout_s

    def left_s(self) -> float:
        left = self._end_s - time.monotonic()
        if left <= 0:
            raise LimitExceededError(
                f"{self._url}: not fetched within fetch.timeout_s = {self._limits.timeout_s:g} s. "
                "Raise the setting, or download the file yourself."
            )
        return left


class _Stream:
    """A network stream that never waits past the deadline, however slowly the bytes drip."""

    def __init__(self, stream: httpcore.NetworkStream, clock: _Clock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=self._bounded(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=self._bounded(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secure = self._stream.start_tls(ssl_context, server_hostname, self._bounded(timeout))
        return _Stream(secure, self._clock)  # type: ignore[return-value]  # the same methods; the class has no ABC

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _bounded(self, timeout: float | None) -> float:
        left = self._clock.left_s()
        return left if timeout is None else min(left, timeout)


class _Backend:
    """Connects to the addresses that were checked, and to nothing else."""

    def __init__(self, addresses: Sequence[str], clock: _Clock) -> None:
        import httpcore

        self._addresses = addresses
        self._clock = clock
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        import httpcore

        failure: Exception | None = None
        for address in self._addresses:
            left = self._clock.left_s()
            wait = left if timeout is None else min(left, timeout)
            try:
                stream = self._backend.connect_tcp(address, port, timeout=wait, socket_options=socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return _Stream(stream, self._clock)  # type: ignore[return-value]  # the same methods; no ABC
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise OSError("no local sockets")

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, self._clock.left_s()))


class Fetcher:
    """Fetches addresses. Safe to share between threads: each fetch has its own connection.

    :param limits: What one fetch may cost, and whether it may go to private addresses.
    :param resolve: Gives the addresses of a host; the system's resolver by default.
    """

    def __init__(self, limits: FetchLimits, *, resolve: Resolve = resolve_host) -> None:
        self.limits = limits
        self._resolve = resolve

    def raw(self, url: str) -> RawFile:
        """Fetch an address as a file.

        The type is told from the bytes, whatever the server says. Text in the encoding that the server names is turned
        into UTF-8, unless it is UTF-8 already.

        :param url: An ``http`` or ``https`` address.
        :returns: A file whose source is the address that answered in the end, without its fragment.
        :raises LoadError: If it cannot be fetched, or is refused.
        """
        fetched = self.fetch(url)
        name = _name_of(fetched.url)
        raw = raw_from_bytes(name, fetched.data, source=fetched.url)
        if fetched.charset and (raw.media_type == HTML or raw.media_type.startswith("text/")):
            recoded = _as_utf8(fetched.data, fetched.charset)
            if recoded is not None:
                raw = raw_from_bytes(name, recoded, source=fetched.url)
        return raw

    def fetch(self, url: str) -> Fetched:
        """Fetch an address, following redirects.

        :param url: An ``http`` or ``https`` address.
        :returns: The bytes, expanded, with what the server says of them.
        :raises UnsafePathError: If the address, or one that it redirects to, is not public.
        :raises UnsupportedFileError: If it is no ``http`` or ``https`` address, or is encoded in a way not known here.
        :raises UnreadableFileError: If the server cannot be reached, or does not answer with the file.
        :raises LimitExceededError: If it is too large, too slow, or redirects too often.
        """
        clock = _Clock(self.limits, url)
        target = _parsed(url)
        for _ in range(self.limits.max_redirects + 1):
            answer = self._get(target, clock)
            if isinstance(answer, Fetched):
                return answer
            target = answer
        raise LimitExceededError(
            f"{url}: redirects more than fetch.max_redirects = {self.limits.max_redirects} times. "
            "Name the last address."
        )

    def _addresses(self, target: httpx.URL) -> list[str]:
        """Resolve the host of ``target`` and check every address that it has."""
        port = target.port or (443 if target.scheme == "https" else 80)
        try:
            addresses = list(self._resolve(target.raw_host.decode("ascii"), port))
        except (OSError, UnicodeError) as error:
            raise UnreadableFileError(f"{target}: the host {target.host!r} cannot be found ({error}).") from error
        if not addresses:
            raise UnreadableFileError(f"{target}: the host {target.host!r} has no address.")
        refused = [] if self.limits.allow_private else [address for address in addresses if not _is_public(address)]
        if refused:
            raise UnsafePathError(
                f"{target}: {target.host!r} is the address {refused[0]}, which is local, private or reserved. It was "
                "not fetched. Set fetch.allow_private = true if you trust it."
            )
        return addresses

    def _get(self, target: httpx.URL, clock: _Clock) -> Fetched | httpx.URL:
        """Ask once; return what came, or the address to go on to."""
        import httpcore
        import httpx

        addresses = self._addresses(target)
        timeout = {"connect": self.limits.connect_timeout_s, "read": self.limits.timeout_s}
        timeout |= {"write": self.limits.timeout_s, "pool": self.limits.connect_timeout_s}
        headers = [
            ("Host", target.netloc.decode("ascii")),
            ("User-Agent", self.limits.user_agent),
            ("Accept", _ACCEPT),
            ("Accept-Encoding", "gzip, deflate"),
        ]
        backend = _Backend(addresses, clock)
        context = httpx.create_ssl_context() if target.scheme == "https" else None
        try:
            with (
                httpcore.ConnectionPool(ssl_context=context, network_backend=backend) as pool,  # type: ignore[arg-type]
                pool.stream("GET", str(target), headers=headers, extensions={"timeout": timeout}) as response,
            ):
                return self._answer(target, response, clock)
        except httpcore.TimeoutException as error:
            clock.left_s()
            raise FetchError(f"{target}: the server did not answer in time ({error}).") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
            raise FetchError(f"{target}: cannot be fetched ({error}).") from error

    def _answer(self, target: httpx.URL, response: httpcore.Response, clock: _Clock) -> Fetched | httpx.URL:
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in response.headers}
        if response.status in _REDIRECTS and "location" in headers:
            return _parsed(headers["location"], base=target)
        if response.status != 200:
            kind = FetchError if response.status >= 500 or response.status in _PASSING else UnreadableFileError
            raise kind(f"{target}: the server answers with status {response.status}.")
        stated = headers.get("content-length", "")
        if stated.isdecimal() and len(stated) < 20 and int(stated) > self.limits.max_bytes:
            raise self._too_large(target, int(stated))
        expand = _expander(headers.get("content-encoding", ""), where=str(target))
        parts: list[bytes] = []
        n_bytes = 0
        for part in _expanded(response.iter_stream(), expand, where=str(target)):
            clock.left_s()
            n_bytes += len(part)
            if n_bytes > self.limits.max_bytes:
                raise self._too_large(target, n_bytes)
            parts.append(part)
        content_type = headers.get("content-type", "")
        charset = _CHARSET.search(content_type)
        return Fetched(
            url=str(target),
            data=b"".join(parts),
            media_type=content_type.partition(";")[0].strip().lower(),
            charset=charset[1] if charset else "",
        )

    def _too_large(self, target: httpx.URL, n_bytes: int) -> LoadError:
        return LimitExceededError(
            f"{target}: at least {n_bytes} bytes, more than fetch.max_bytes = {self.limits.max_bytes}. "
            "Raise the setting, or download the file yourself."
        )


def _parsed(url: str, *, base: httpx.URL | None = None) -> httpx.URL:
    """Return an address in its canonical form, without user, password and fragment."""
    import httpx

    try:
        target = httpx.URL(url.strip()) if base is None else base.join(url.strip())
        if target.scheme in ("http", "https") and target.host:
            return target.copy_with(fragment=None, username=None, password=None)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise UnsupportedFileError(f"{url[:200]}: is not an address ({error}).") from error
    raise UnsupportedFileError(f"{url[:200]}: only http and https addresses with a host are fetched.")


def _expander(encoding: str, *, where: str) -> Any:
    """Return what undoes the encoding of a body; ``None`` where there is none."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip"):
        return zlib.decompressobj(zlib.MAX_WBITS | 16)
    if encoding == "deflate":
        return zlib.decompressobj()
    raise UnsupportedFileError(f"{where}: the server sends it encoded as {encoding[:40]!r}, which was not asked for.")


def _expanded(stream: Iterable[bytes], expand: Any, *, where: str) -> Iterator[bytes]:
    """Yield the body in pieces of bounded size, so that a bomb is counted before it is in memory."""
    if expand is None:
        yield from stream
        return
    try:
        for part in stream:
            pending = part
            while pending:
                yield expand.decompress(pending, _STEP_BYTES)
                pending = expand.unconsumed_tail
        yield expand.flush()
    except zlib.error as error:
        raise UnreadableFileError(f"{where}: what the server sends cannot be expanded ({error}).") from error


def _name_of(url: str) -> str:
    import httpx

    parsed = httpx.URL(url)
    last = parsed.path.rstrip("/").rpartition("/")[2]
    return last[:150] or parsed.host or "page"


def _as_utf8(data: bytes, charset: str) -> bytes | None:
    """Return text in UTF-8 with a mark, which outweighs what the page says of itself; ``None`` where it is UTF-8."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return b"\xef\xbb\xbf" + data.decode(charset).encode("utf-8")
        except (LookupError, ValueError):
            return None
    return None
