"""Filters for streamed text: stop strings, and the thinking that some models write before they answer.

Layer: ``generation``; the standard library only.
A piece of text is held back only as long as it may still be the beginning of a marker, so streaming stays prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

__all__ = ["StopFilter", "ThinkFilter", "clean_stream"]


class StopFilter:
    """Pass text on until one of the stop strings appears; the string itself and what follows are dropped.

    :param stop: Stop strings; empty ones are ignored.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(marker for marker in stop if marker)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Take the next piece and return what may be passed on."""
        if self.stopped:
            return ""
        self._held += text
        places = [place for marker in self._stop if (place := self._held.find(marker)) >= 0]
        if places:
            self.stopped = True
            ready, self._held = self._held[: min(places)], ""
            return ready
        keep = _partial(self._held, self._stop)
        ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return ready

    def flush(self) -> str:
        """Return what was held back at the end of the stream."""
        ready, self._held = self._held, ""
        return ready


class ThinkFilter:
    """Drop ``<think>…</think>`` and pass the rest on. Thinking that never ends is dropped to the end."""

    _OPEN, _CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._after = False

    def push(self, text: str) -> str:
        """Take the next piece and return what may be passed on."""
        self._held += text
        ready = ""
        while True:
            marker = self._CLOSE if self._inside else self._OPEN
            place = self._held.find(marker)
            if place < 0:
                break
            ready += self._outside(self._held[:place])
            self._held = self._held[place + len(marker) :]
            self._inside = not self._inside
            self._after = not self._inside
        keep = _partial(self._held, (marker,))
        ready += self._outside(self._held[: len(self._held) - keep])
        self._held = self._held[len(self._held) - keep :]
        return ready

    def flush(self) -> str:
        """Return what was held back at the end of the stream."""
        ready, self._held = self._outside(self._held), ""
        return ready

    def _outside(self, text: str) -> str:
        if self._inside:
            return ""
        if self._after:  # the blank lines between the thinking and the answer belong to the thinking
            text = text.lstrip()
            self._after = not text
        return text


def clean_stream(pieces: Iterable[str], *, stop: Sequence[str] = ()) -> Iterator[str]:
    """Yield ``pieces`` without thinking, up to the first stop string of the answer.

    :param pieces: Text as a model writes it. Not read further once a stop string was met.
    :param stop: Stop strings.
    :yields: Non-empty pieces.
    """
    think, halt = ThinkFilter(), StopFilter(stop)
    for piece in pieces:
        if ready := halt.push(think.push(piece)):
            yield ready
        if halt.stopped:
            return
    if ready := halt.push(think.flush()) + halt.flush():
        yield ready


def _partial(text: str, markers: Sequence[str]) -> int:
    """Return the length of the longest end of ``text`` that begins one of ``markers``."""
    longest = 0
    for marker in markers:
        for size in range(min(len(marker) - 1, len(text)), longest, -1):
            if text.endswith(marker[:size]):
                longest = size
                break
    return longest
