"""Files that hold files: zip and tar archives, compressed files, messages with attachments, mailboxes.

Layer: ``kg``; the standard library only. Everything that one outermost file expands to is counted against one budget,
however it is nested, and nesting ends at ``max_archive_depth``. One bad member fails only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kg.errors import UnreadableFileError, UnsupportedFileError
from kg.limits import LoadLimits
from kg.loaders.archive import Budget, MemberReader, expand_archive
from kg.loaders.mail_parts import attachments_of, messages_of
from kg.loaders.raw import FileFailure
from kg.loaders.sniff import EML, MBOX, TAR, ZIP
from kg.loaders.tar import COMPRESSED, expand_compressed, expand_tar
from kg.types import RawFile

__all__ = ["CONTAINER_TYPES", "expand", "read_member"]

_Expander = Callable[..., Iterator[RawFile | FileFailure]]
_EXPANDERS: dict[str, _Expander] = {
    ZIP: expand_archive,
    TAR: expand_tar,
    EML: attachments_of,
    MBOX: messages_of,
    **dict.fromkeys(COMPRESSED, expand_compressed),
}
CONTAINER_TYPES = frozenset(_EXPANDERS)
"""Types of files that hold files."""


def expand(raw: RawFile, *, limits: LoadLimits) -> Iterator[RawFile | FileFailure]:
    """Yield ``raw`` itself or, where it holds files, those; a message is yielded before its attachments.

    :param raw: Any file.
    :param limits: Those on archives apply to all that it expands to together.
    :yields: Files one by one, so that few are in memory at once, and failures.
    """
    yield from _expand(raw, limits=limits, budget=Budget(limits), depth=0)


def _expand(raw: RawFile, *, limits: LoadLimits, budget: Budget, depth: int) -> Iterator[RawFile | FileFailure]:
    expander = _EXPANDERS.get(raw.media_type)
    if expander is None:
        yield raw
        return
    if raw.media_type == EML:
        yield raw
    for item in expander(raw, limits=limits, budget=budget):
        if depth >= limits.max_archive_depth:
            too_deep = UnsupportedFileError(
                f"{raw.source}: nested deeper than max_archive_depth = {limits.max_archive_depth}; its members were "
                "not read. Unpack it and ingest the folder."
            )
            yield FileFailure(source=raw.source, name=raw.name, error=too_deep)
            return
        if isinstance(item, FileFailure):
            yield item
        else:
            yield from _expand(item, limits=limits, budget=budget, depth=depth + 1)


def read_member(container: RawFile, path: str, *, limits: LoadLimits) -> bytes:
    """Return the bytes of one member of a container.

    :param container: A file that holds files.
    :param path: The member's path in it.
    :param limits: Those on archives apply.
    :returns: Its bytes.
    :raises UnreadableFileError: If there is no such member.
    :raises LoadError: If it cannot be read or passes a limit.
    """
    if container.media_type == ZIP:
        reader = MemberReader(container.data, name=container.name, limits=limits)
        for member in reader.members:
            if member.filename.replace("\\", "/") == path:
                return reader.read(member)
    elif expander := _EXPANDERS.get(container.media_type):
        for item in expander(container, limits=limits, budget=Budget(limits)):
            if item.source == f"{container.source}!/{path}":
                if isinstance(item, FileFailure):
                    raise item.error
                return item.data
    raise UnreadableFileError(f"{container.name}: there is no member {path[:200]!r}.")
