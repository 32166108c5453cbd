"""Taking the files of a backup out of their seal: what comes out is what was put in, or an error. Blocking."""

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.backup.log_archive import read_log
from service.backup.manifest import Manifest
from service.backup.places import BackupKeys, Places
from service.backup.sealed import Opened, SealedFile
from service.backup.working import create_private
from service.crypto.errors import NoMatchError
from service.domain.errors import TamperedError, UnavailableError
from storage.errors import MissingError


@dataclass(frozen=True, slots=True)
class Unpacker:
    """Opens the files of backups."""

    places: Places
    keys: BackupKeys

    def unpack(
        self, manifest: Manifest, file: str, target: Path | None, *, check: Callable[[], None]
    ) -> None:
        """Write the plain bytes of ``file`` to ``target``, which is not there yet; where that is None, only check it.

        Raises:
            TamperedError: The file is missing, or not what the manifest says, or does not authenticate.
            UnavailableError: None of the identities at hand opens it, or it cannot be read.
        """
        with self._opened(manifest, file) as opened:
            if target is None:
                for _ in opened:
                    check()
                return
            with create_private(target) as out:
                for piece in opened:
                    check()
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())

    def unpack_log(self, manifest: Manifest, file: str, archive: Path) -> None:
        """Write the published log below ``archive``.

        Raises:
            TamperedError, UnavailableError: As ``unpack``.
        """
        with self._opened(manifest, file) as opened:
            try:
                read_log(opened, archive)
            except tarfile.TarError as error:
                raise TamperedError(str(error)) from error
            # To its very end, whatever a tar archive has behind its last file.
            for _ in opened:
                pass

    @contextmanager
    def _opened(self, manifest: Manifest, file: str) -> Iterator[Opened]:
        """Open ``file`` for the block, at whose end it must have been read whole and be what was written."""
        called = f"{manifest.kind} backup {manifest.name}: {file}"
        try:
            path = self.places.of(manifest.kind).file(manifest.name, file)
            stated = manifest.files[file]
        except (MissingError, KeyError) as error:
            raise TamperedError(f"{called} is missing") from error
        try:
            with path.open("rb") as source:
                opened = self._open(source)
                yield opened
        except NoMatchError as error:
            if _read(path) != stated:
                raise TamperedError(
                    f"{called} is not the file that was written then"
                ) from error
            raise UnavailableError(
                f"{called} opens with none of the keys at hand: its epoch may be destroyed. Name an identity that it "
                "was sealed to as well: --identity FILE"
            ) from error
        except TamperedError as error:
            raise TamperedError(f"{called}: {error}") from error
        except OSError as error:
            raise UnavailableError(f"{called} cannot be unpacked: {error.strerror}") from error
        if opened.seen != stated:
            raise TamperedError(f"{called} is not the file that was written then")

    def _open(self, source: BinaryIO) -> Opened:
        return Opened(source, self.keys.identities)


def _read(path: Path) -> SealedFile:
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256")
        return SealedFile(source.tell(), digest.hexdigest())
