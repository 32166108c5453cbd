"""What a backup says of itself, and the code that tells a manifest of the archive's from any other (docs/format.md)."""

import hmac
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from service.backup.sealed import SealedFile
from service.crypto.secret import IndexKey
from service.domain.errors import TamperedError, UnavailableError
from storage.backups import BackupFolders
from storage.errors import MissingError
from storage.ports import Snapshot

VERSION: Final = 1
MANIFEST, CODE = "backup.json", "backup.mac"
KEY_FIELD: Final = "backup"
"""The field of the index key under which manifests are authenticated."""


class Kind(StrEnum):
    """What a backup is of: rows, log and names of objects; or the key store."""

    ARCHIVE = "archive"
    KEYS = "keys"


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup holds.

    ``files`` are the sealed files by name. ``objects`` are those whose blobs the archive had then, ``damaged`` those
    among them that were missing or altered; ``unnamed`` are blobs kept with the backups that no row named any more.
    """

    version: int
    kind: Kind
    name: str
    made_at: datetime
    archive: str
    engine: str
    revision: str
    rows: dict[str, int]
    files: dict[str, SealedFile]
    objects: int = 0
    object_bytes: int = 0
    damaged: list[str] = []
    unnamed: list[str] = []

    @property
    def snapshot(self) -> Snapshot:
        """What the copy of the store is."""
        return Snapshot(self.engine, self.revision, self.rows)

    @property
    def file_bytes(self) -> int:
        """How much its own files take."""
        return sum(file.bytes for file in self.files.values())


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as it is stored."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def code_of(key: IndexKey, encoded: bytes) -> bytes:
    """Return what is stored beside a manifest: HMAC-SHA-256 of its bytes, in hexadecimal, a line."""
    return hmac.digest(key, encoded, "sha256").hex().encode() + b"\n"


def read_manifest(
    folders: BackupFolders, name: str, *, kind: Kind, key: IndexKey | None
) -> Manifest:
    """Return what the backup ``name`` says of itself; believed only as far as ``key`` authenticates it.

    Raises:
        MissingError: There is no such backup.
        TamperedError: It is not as the archive wrote it: altered, renamed, or another archive's.
        UnavailableError: A newer program wrote it.
    """
    encoded = folders.file(name, MANIFEST).read_bytes()
    if key is not None:
        try:
            code = folders.file(name, CODE).read_bytes()
        except MissingError as error:
            raise TamperedError(f"{name}: {CODE} is missing") from error
        if not hmac.compare_digest(code, code_of(key, encoded)):
            raise TamperedError(f"{name}: {MANIFEST} was altered, or is another archive's")
    manifest = _decode(name, encoded)
    if (manifest.name, manifest.kind) != (name, kind):
        raise TamperedError(f"{name}: this is the backup {manifest.name} ({manifest.kind})")
    return manifest


class _Versioned(msgspec.Struct, frozen=True):
    version: int


def _decode(name: str, encoded: bytes) -> Manifest:
    try:
        if msgspec.json.decode(encoded, type=_Versioned).version > VERSION:
            raise UnavailableError(
                f"{name}: a newer program made this backup; install that version or a newer one"
            )
        return msgspec.json.decode(encoded, type=Manifest)
    except msgspec.DecodeError as error:
        raise TamperedError(
            f"{name}: {MANIFEST} is not what a backup says of itself"
        ) from error
