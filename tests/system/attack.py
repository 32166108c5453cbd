"""Opening what is stored with whatever lies in an image: tried with every window, and by looking for the true keys."""

from base64 import b64decode
from dataclasses import dataclass

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from service.crypto.age import parse_header
from service.crypto.fields import FieldSealer
from service.crypto.secret import DataKey, FileKey, derive
from service.crypto.wrap import unwrap_key
from service.domain.errors import TamperedError
from service.keys.session import derive_session_key
from tests.system.memory import Image


@dataclass(frozen=True)
class Stored:
    """What a thief of the database has: sealed sessions, wrapped keys by session, headers of objects, sealed rows."""

    sessions: dict[str, bytes]
    wrapped: dict[str, dict[str, bytes]]
    objects: dict[str, bytes]
    sealed: dict[str, bytes]

    def of(self, *sessions: str) -> "Stored":
        """Return what belongs to these sessions. Objects belong to none, and are all there."""
        wrapped = {one: self.wrapped[one] for one in sessions}
        rows = {row for keys in wrapped.values() for row in keys}
        return Stored(
            {one: self.sessions[one] for one in sessions},
            wrapped,
            self.objects,
            {row: self.sealed[row] for row in rows},
        )


async def read_stored(url: str) -> Stored:
    db = await asyncpg.connect(url)
    try:
        keys = await db.fetch("SELECT id, kind, wrapped_by, wrapped FROM taltio_keys.keys")
        rows = await db.fetch("SELECT id, sealed FROM taltio.deliveries")
        objects = await db.fetch("SELECT id FROM taltio.objects WHERE kind = 'recording'")
    finally:
        await db.close()
    recordings = {row["id"] for row in objects}
    wrapped = {row["id"]: {} for row in keys if row["kind"] == "session"}
    for row in keys:
        if row["kind"] == "delivery":
            wrapped[row["wrapped_by"]][row["id"]] = row["wrapped"]
    return Stored(
        {row["id"]: row["wrapped"] for row in keys if row["kind"] == "session"},
        wrapped,
        {row["id"]: row["wrapped"] for row in keys if row["id"] in recordings},
        {row["id"]: row["sealed"] for row in rows},
    )


class Attack:
    """Tries windows of an image as keys. ``recipient`` is the public point of the epoch, which is no secret."""

    def __init__(self, stored: Stored, recipient: bytes) -> None:
        # One delivery of each session stands for all.
        self._targets = {one: next(iter(keys.items())) for one, keys in stored.wrapped.items()}
        self._sealed = [(row, stored.sealed[row]) for row, _ in self._targets.values()]
        headers = [
            parse_header(one) for one in (*stored.sessions.values(), *stored.objects.values())
        ]
        stanzas = [stanza for header in headers for stanza in header.stanzas]
        self._bodies = [stanza.body for stanza in stanzas]
        self._points = {recipient} | {b64decode(one.arguments[0] + "=") for one in stanzas}

    def opened(self, image: Image) -> tuple[set[str], int]:
        """Try every window of ``image``; return what they are that open something, and how many were tried."""
        told, count = set(), 0
        for window in image.windows():
            count += 1
            as_key = (
                self._opens if len(window) == DataKey.size_bytes else self._opens_as_file_key
            )
            if found := as_key(window):
                told.add(found)
        return told, count

    def _opens(self, window: bytes) -> str | None:
        """Say what a window of 32 bytes opens."""
        for session, (_, wrapped) in self._targets.items():
            try:
                aes_key_unwrap(window, wrapped)
            except InvalidUnwrap:
                continue
            return f"the key of session {session}"
        for row, sealed in self._sealed:
            sealer = FieldSealer(DataKey(window))
            try:
                sealer.open(sealed, table="deliveries", row=row, column="sealed", version=1)
            except TamperedError:
                continue
            return f"the key of delivery {row}"
        for body in self._bodies:
            try:
                ChaCha20Poly1305(window).decrypt(bytes(12), body, None)
            except InvalidTag:
                continue
            return "what wraps a file key"
        point = X25519PrivateKey.from_private_bytes(window).public_key().public_bytes_raw()
        return "the secret of a recipient or stanza" if point in self._points else None

    def _opens_as_file_key(self, window: bytes) -> str | None:
        """Say what a window of 16 bytes opens."""
        key = derive_session_key(FileKey(window))
        for session, (_, wrapped) in self._targets.items():
            try:
                aes_key_unwrap(key, wrapped)
            except InvalidUnwrap:
                continue
            return f"the file key of session {session}"
        return None


def true_secrets(stored: Stored, identity) -> dict[str, bytes]:
    """Return, with the key that a thief does not have, everything that would open something stored."""
    secrets = {}
    for session, sealed in stored.sessions.items():
        file_key = _file_key(sealed, identity)
        session_key = derive_session_key(file_key)
        secrets[f"{session} file key"] = file_key
        secrets[f"{session} header key"] = derive(file_key, info=b"header")
        secrets[f"{session} key"] = session_key
        for row, wrapped in stored.wrapped[session].items():
            secrets[row] = unwrap_key(session_key, wrapped)
    for name, sealed in stored.objects.items():
        secrets[f"{name} file key"] = _file_key(sealed, identity)
    return secrets


def _file_key(sealed: bytes, identity) -> FileKey:
    (stanza,) = parse_header(sealed).stanzas
    return identity.unwrap(stanza)
