"""The keys directory of a machine that only takes deliveries in: one file, which opens nothing."""

from pathlib import Path
from typing import Final

from service.keys import formats
from service.keys.directory import KeyDirectory
from service.keys.epoch import KeyMaterial
from service.keys.errors import KeysMissingError, KeysRefusedError
from service.keys.intake import IntakeKeys, derive_intake_master

_SUFFIX: Final = ".intake"


def write_intake_files(material: KeyMaterial, directory: Path, *, archive: Path) -> Path:
    """Write what intake needs of the current epoch into ``directory``, made with mode 0700 if it is not there.

    The file has mode 0400 and survives a power cut; one that is there already, and the same, stays. Those of earlier
    epochs stay too. Returns the file.

    Raises:
        KeysRefusedError: ``directory`` lies within the archive, others can look into it, or something else than
            intake's files is there: a private key has no business on such a machine.
    """
    target = KeyDirectory(directory, archive=archive)
    target.make()
    with target.locked():
        others = sorted(name for name in target.names() if not name.endswith(_SUFFIX))
        if others:
            raise KeysRefusedError(
                f"{directory} also holds {', '.join(others)}, which intake must not have. Choose an empty directory."
            )
        epoch = material.epochs[-1]
        keys = IntakeKeys(
            epoch.number, epoch.recipient, derive_intake_master(material.index_master)
        )
        text = formats.format_intake(keys, epoch.created_at).encode("ascii")
        name = f"epoch-{epoch.number:06d}{_SUFFIX}"
        if _is_there(target, name, text):
            return directory / name
        target.add(name, text)
    return directory / name


def private_files(directory: Path) -> list[str]:
    """Return the names of files in a keys directory that intake does not need. Blocking."""
    try:
        names = [path.name for path in directory.iterdir()]
    except OSError:
        return []
    return sorted(name for name in names if not name.endswith((_SUFFIX, ".destroyed")))


def _is_there(directory: KeyDirectory, name: str, data: bytes) -> bool:
    try:
        found = directory.read(name)
    except KeysMissingError:
        return False
    if found != data:
        raise KeysRefusedError(
            f"{directory.path / name} is of another archive. Choose an empty directory."
        )
    return True
