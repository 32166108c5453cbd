"""Begins an archive where there was none, and never in the place of one that is away."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.archive.anchors import Anchors
from service.config import Config
from service.databases import is_database_there
from service.domain.errors import InvalidInputError, UnavailableError
from service.keys.file import holds_keys
from service.wiring import LEDGER_DIRECTORY
from storage.backups import BackupFolders
from storage.syncing import sync_directory


async def is_new(config: Config) -> bool:
    """Tell whether there is no archive yet where ``config`` says, or one that was stopped while it was begun.

    Raises:
        UnavailableError: There was one, of which something is left: an empty one in its place would hide the loss.
        storage.errors.UnavailableError: The database's server, or the directory of backups, cannot be asked.
    """
    is_begun = _mark(config).exists()
    if await is_database_there(config):
        return is_begun
    left = {} if is_begun else dict(_left_elsewhere(config))
    if (ledger := config.archive.directory / LEDGER_DIRECTORY).exists():
        left["[archive] directory"] = f"its ledger in {ledger}"
    if left:
        raise UnavailableError(
            f"{config.storage.database} has no archive, though there was one: {', '.join(left.values())}. Mount "
            "the disk or bring back the database that it is in, or restore it (taltio backup restore). Only for a new "
            f"archive: let {', '.join(left)} name another place"
        )
    return True


@contextmanager
def beginning(config: Config) -> Iterator[None]:
    """Begin an archive inside the block. When it is stopped within it, the next start goes on.

    Raises:
        InvalidInputError: The archive's directory cannot be written.
    """
    mark = _mark(config)
    try:
        mark.touch(mode=0o600)
        sync_directory(mark.parent)
    except OSError as error:
        raise _unfit(config, "written", error) from error
    yield
    mark.unlink()
    # Come back after a power cut, it would let what is lost of an archive be made anew.
    sync_directory(mark.parent)


def make_directory(config: Config) -> None:
    """Make the archive's directory unless it is there.

    Raises:
        InvalidInputError: It cannot be made.
    """
    try:
        config.archive.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unfit(config, "made", error) from error


def _left_elsewhere(config: Config) -> Iterator[tuple[str, str]]:
    """Yield what there is of an archive apart from its data: the setting that leads there, and what it is."""
    if holds_keys(keys := config.keys.directory):
        yield "[keys] directory", f"its keys are in {keys}"
    backups, anchors = config.backup.directory, config.log.anchor_directory
    # A disk that is not mounted shows nothing. That it is missing is told elsewhere, and stops no service.
    if backups is not None and backups.is_dir() and BackupFolders(backups).names():
        yield "[backup] directory", f"its backups are in {backups}"
    if anchors is not None and Anchors(anchors).has_log(config.archive.name):
        yield "[log] anchor_directory", f"checkpoints of {config.archive.name} are in {anchors}"


def _mark(config: Config) -> Path:
    return config.archive.directory / ".beginning"


def _unfit(config: Config, what: str, error: OSError) -> InvalidInputError:
    return InvalidInputError(
        f"[archive] directory: {config.archive.directory} cannot be {what}: {error.strerror}. Make it, and let it "
        "belong to the account that runs this"
    )
