"""A server on this machine that sends a mutated answer, and loaders that fetch from nowhere else."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence

from kg.limits import FetchLimits, LoadLimits
from kg.loaders.fetch import Fetcher
from kg.loaders.html import HtmlLoader
from kg.ports import Loader
from kg.types import RawFile
from tests.kg.loaders.conftest import picture_bytes

__all__ = ["AnsweringServer", "loaders_that_fetch"]

_HOST = "127.0.0.1"
_LIMITS = FetchLimits(
    timeout_s=5.0, connect_timeout_s=2.0, max_bytes=8 * 1024 * 1024, allow_private=True, images=True, max_images=5
)
_MOST_REQUEST = 65_536


class AnsweringServer:
    """Sends the same bytes to whoever asks for a page, and a picture to whoever asks for ``/box.png``."""

    def __init__(self) -> None:
        self._answer = b""
        self._socket = socket.create_server((_HOST, 0))
        self.port = int(self._socket.getsockname()[1])
        picture = picture_bytes()
        self._picture = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture
        self.fetcher = Fetcher(_LIMITS, resolve=self._resolve)
        threading.Thread(target=self._serve, daemon=True).start()

    def fetched(self, name: str, answer: bytes) -> RawFile:
        """Return what the fetcher makes of an answer.

        :param name: The last part of the address.
        :param answer: Everything that the server sends, from the status line on.
        :returns: The file that was fetched.
        :raises LoadError: If the answer is refused.
        """
        self._answer = answer
        return self.fetcher.raw(f"http://{_HOST}:{self.port}/{name}")

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def _resolve(self, host: str, port: int) -> Sequence[str]:
        """Know this server alone: a mutated address must not lead anywhere else."""
        if (host, port) != (_HOST, self.port):
            raise OSError("no such host")
        return [_HOST]

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5.0)
                    request = connection.recv(_MOST_REQUEST)
                    is_picture = request.startswith(b"GET /box.png ")
                    connection.sendall(self._picture if is_picture else self._answer)
                    connection.shutdown(socket.SHUT_WR)


def loaders_that_fetch(loaders: Sequence[Loader], server: AnsweringServer, *, limits: LoadLimits) -> tuple[Loader, ...]:
    """Return the loaders, that of HTML fetching the pictures of a page from the server."""
    html = HtmlLoader(limits, fetcher=server.fetcher)
    return tuple(html if isinstance(loader, HtmlLoader) else loader for loader in loaders)
