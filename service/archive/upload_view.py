"""What is known of an upload that can be resumed: what it is of, how far it has come, and who sent it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from service.domain.actor import Actor, ActorKind, Role
from service.domain.errors import InvalidInputError, TooLargeError
from service.domain.times import from_microseconds
from storage.rows import UploadRow

LIFETIME: Final = timedelta(days=1)
"""An upload that nobody goes on with for so long is removed."""


class ChecksumMismatchError(InvalidInputError):
    """The bytes of a request are not what its sender says. They were discarded."""

    code = "checksum_mismatch"


class Target(msgspec.Struct, frozen=True):
    """What is uploaded: a recording of a contact, by its id or by what its source calls it.

    ``source`` and ``source_id`` are None where ``contact_id`` is told, and the other way round; all are None for a
    partial upload, whose bytes are for one that names it. ``metadata`` is what the sender sent, as it sent it.
    """

    metadata: str
    contact_id: str | None = None
    source: str | None = None
    source_id: str | None = None
    name: str = ""
    content_type: str = "application/octet-stream"
    bound_to: str | None = None
    partials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UploadView:
    """An upload as its sender may know it."""

    row: UploadRow
    target: Target

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there."""
        return self.row.offset_bytes == self.row.length_bytes

    @property
    def expires_at(self) -> datetime:
        """When it is removed, unless somebody goes on with it."""
        return from_microseconds(self.row.touched_at) + LIFETIME


def is_due(view: UploadView) -> bool:
    """Tell whether every byte is there, and the recording not yet known to be kept."""
    return view.is_whole and view.row.state == "open" and view.row.kind != "partial"


def with_length(view: UploadView, length: int | None, *, most: int) -> UploadView:
    """Return the upload with the length that its sender tells only now.

    Raises:
        InvalidInputError: It told another before, or less than has come.
        TooLargeError: It is longer than is taken.
    """
    if length is None or length == view.row.length_bytes:
        return view
    if view.row.length_bytes is not None or length < view.row.offset_bytes:
        raise InvalidInputError("Upload-Length: another one was told, or more has come")
    if length > most:
        raise TooLargeError(f"an upload of {length} bytes")
    return replace(view, row=replace(view.row, length_bytes=length))


def sender_of(view: UploadView) -> Actor:
    """Return who sent the upload, as far as it matters: its bytes were taken when the token was valid."""
    return Actor(
        id=view.row.actor_id,
        kind=ActorKind.MACHINE,
        roles=frozenset({Role.INTEGRATION}),
        source=view.target.bound_to,
    )
