"""What an actor asks to open: a recording, a rendition of it, or a message; found and described."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.archive.mail_records import NO_MAIL, MailPart, SealedMail
from service.archive.media_types import suffix_of, type_of
from service.archive.records import SealedRecording, message_of
from service.archive.vault import Vault, open_value
from service.domain.contact import RecordingState
from service.domain.errors import (
    ErasedError,
    InvalidInputError,
    NotFoundError,
    TamperedError,
)
from service.domain.ids import parse_id
from storage.ports import Store
from storage.rows import MessageRow, ObjectRow, RecordingRow

MESSAGE_TYPE: Final = "text/plain; charset=utf-8"
RENDITION_TYPE: Final = "audio/wav"
PEAKS_TYPE: Final = "application/octet-stream"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)


class Subject(StrEnum):
    """What can be opened."""

    RECORDING = "recording"
    MESSAGE = "message"


class Rendition(StrEnum):
    """In which form a recording can be opened, and what of a message beside its text."""

    ORIGINAL = "original"
    PLAYABLE = "playable"
    """What every browser plays: a copy made for that, or the original where it is such already."""
    PEAKS = "peaks"
    """The loudness over time, from which a waveform is drawn."""
    MAIL = "mail"
    """Of a mail: all of it, as it came."""
    HTML = "html"
    """Of a mail: its formatted text, made safe."""
    ATTACHMENT = "attachment"
    """Of a mail: one of its attachments."""
    VERDICTS = "verdicts"
    """Of a mail: whether its signatures are valid, with the keys that this rests on; the newest."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for, parsed and not yet looked up. ``number`` is that of an attachment, from 1."""

    subject: Subject
    id: str
    rendition: Rendition = Rendition.ORIGINAL
    number: int = 1

    @classmethod
    def parse(cls, subject: Subject, text: str, *, rendition: str | None = None) -> "Asked":
        """Return what ``text`` and ``rendition`` name.

        Raises:
            NotFoundError: Nothing can be called ``text``.
            InvalidInputError: There is no such rendition, or messages have none.
        """
        prefix = "rc" if subject is Subject.RECORDING else "ms"
        found = parse_id(prefix, text)
        if rendition is None:
            return cls(subject, found)
        if subject is Subject.MESSAGE or rendition not in (Rendition.PLAYABLE, Rendition.PEAKS):
            raise InvalidInputError("rendition is playable or peaks, for recordings")
        return cls(subject, found, Rendition(rendition))

    @property
    def is_text(self) -> bool:
        """Whether it is the text of a message, which is masked where it is shown."""
        return self.subject is Subject.MESSAGE and self.rendition is Rendition.ORIGINAL

    @classmethod
    def parse_part(cls, text: str, rendition: Rendition, *, number: str = "1") -> "Asked":
        """Return what of the mail ``text`` is asked for beside its text.

        Raises:
            NotFoundError: Nothing can be called so.
        """
        if not _NUMBER.fullmatch(number):
            raise NotFoundError("attachments are numbered from 1")
        return cls(Subject.MESSAGE, parse_id("ms", text), rendition, int(number))


@dataclass(frozen=True, slots=True)
class Target:
    """The object behind what was asked for. ``duration_ms`` is None until the recording has been examined."""

    asked: Asked
    contact_id: str
    object: ObjectRow
    content_type: str
    filename: str
    duration_ms: int | None


async def get_target(store: Store, vault: Vault, asked: Asked) -> Target:
    """Return what ``asked`` names. No content is opened.

    Raises:
        NotFoundError: There is no such thing, or no such rendition (yet), or a recording that never came.
        ErasedError: It was erased.
        TamperedError: The row that describes it is not what was sealed there, or names another's object.
    """
    if asked.subject is Subject.MESSAGE:
        return await _message(store, vault, asked)
    return await _recording(store, vault, asked)


async def _recording(store: Store, vault: Vault, asked: Asked) -> Target:
    rows = await store.find(RecordingRow, {"id": asked.id})
    if not rows:
        raise NotFoundError(f"no recording {asked.id}")
    row = rows[0]
    if row.state == RecordingState.ERASED:
        raise ErasedError(f"{asked.id} was erased")
    if row.object_id is None:
        raise NotFoundError(f"{asked.id} has no bytes: it is {row.state}")
    sealer = await vault.get_sealer(row.contact_id)
    sealed = open_value(
        sealer, row.sealed, SealedRecording, table="recordings", row=row.id, version=row.version
    )
    facts = sealed.facts or {}
    stored = await _object(
        store, asked, row.object_id, playable=facts.get("is_browser_playable")
    )
    content_type = {
        "rendition": RENDITION_TYPE,
        "peaks": PEAKS_TYPE,
    }.get(stored.kind) or type_of(sealed.content_type, sealed.facts)
    return Target(
        asked=asked,
        contact_id=row.contact_id,
        object=stored,
        content_type=content_type,
        filename=_filename(sealed.name, content_type, is_original=stored.kind == "recording"),
        duration_ms=_duration_ms(facts),
    )


async def _object(
    store: Store, asked: Asked, original_id: str, *, playable: object
) -> ObjectRow:
    if asked.rendition is not Rendition.ORIGINAL:
        kind = "rendition" if asked.rendition is Rendition.PLAYABLE else "peaks"
        made = await store.find(
            ObjectRow, {"owner_id": asked.id, "kind": kind}, order=("-made_at",), limit=1
        )
        if made:
            return made[0]
        if asked.rendition is Rendition.PEAKS or playable is not True:
            raise NotFoundError(f"{asked.id} has no {kind} yet")
    return await _original(store, asked, original_id)


async def _original(store: Store, asked: Asked, object_id: str) -> ObjectRow:
    rows = await store.find(ObjectRow, {"id": object_id})
    if not rows or rows[0].owner_id != asked.id:
        raise TamperedError(f"{asked.id} names an object that is not its own")
    return rows[0]


async def _message(store: Store, vault: Vault, asked: Asked) -> Target:
    rows = await store.find(MessageRow, {"id": asked.id})
    if not rows:
        raise NotFoundError(f"no message {asked.id}")
    row = rows[0]
    sealer = await vault.get_sealer(row.contact_id)
    # Opened in any case, to know that the row is what was stored.
    sealed = message_of(row, sealer)
    if asked.rendition is not Rendition.ORIGINAL:
        return await _mail_part(store, asked, row, sealed.mail or NO_MAIL)
    return Target(
        asked=asked,
        contact_id=row.contact_id,
        object=await _original(store, asked, row.object_id),
        content_type=MESSAGE_TYPE,
        filename=f"{row.id}.txt",
        duration_ms=None,
    )


async def _mail_part(store: Store, asked: Asked, row: MessageRow, mail: SealedMail) -> Target:
    if asked.rendition is Rendition.VERDICTS:
        return await _verdicts(store, asked, row)
    part = mail.find(MailPart(asked.rendition.value), asked.number)
    if part is None:
        raise NotFoundError(f"{asked.id} has no such {asked.rendition}")
    name = part.name or f"{row.id}{_SUFFIXES.get(part.kind) or suffix_of(part.content_type)}"
    return Target(
        asked=asked,
        contact_id=row.contact_id,
        object=await _original(store, asked, part.object_id),
        content_type=part.content_type,
        filename=name,
        duration_ms=None,
    )


async def _verdicts(store: Store, asked: Asked, row: MessageRow) -> Target:
    where = {"owner_id": row.id, "kind": Rendition.VERDICTS.value}
    made = await store.find(ObjectRow, where, order=("-made_at",), limit=1)
    if not made:
        raise NotFoundError(f"{asked.id} has no verdicts yet")
    return Target(
        asked=asked,
        contact_id=row.contact_id,
        object=made[0],
        content_type="application/json",
        filename=f"{row.id}.verdicts.json",
        duration_ms=None,
    )


_SUFFIXES: Final = {MailPart.RAW: ".eml", MailPart.HTML: ".html"}


def _filename(name: str, content_type: str, *, is_original: bool) -> str:
    """Return the sender's name for the recording, with the suffix of what it now is."""
    stem, dot, suffix = name.rpartition(".")
    if is_original and dot and suffix:
        return name
    return (stem or name or "recording") + suffix_of(content_type)


def _duration_ms(facts: dict[str, object]) -> int | None:
    seconds = facts.get("duration_seconds")
    return round(seconds * 1000) if isinstance(seconds, int | float) and seconds > 0 else None
