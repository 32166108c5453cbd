"""Who runs a command: the service's account, or somebody who may not even look at the archive."""

import os
from pathlib import Path

from service.config import Config
from service.domain.errors import UnavailableError


def require_account(config: Config) -> None:
    """Return when whoever runs this may look into the directories of the archive and of its keys, where they are.

    Raises:
        UnavailableError: They may not.
    """
    for directory in (config.archive.directory, config.keys.directory):
        path = _nearest(directory)
        if path.is_dir() and not os.access(path, os.X_OK, effective_ids=True):
            raise UnavailableError(
                f"{path} belongs to user {path.stat().st_uid}, and this runs as user {os.geteuid()}, who may not look "
                "into it: run it as the account of the service"
            )


def _nearest(path: Path) -> Path:
    """Return ``path``, or what there is, or may be seen, of those above it."""
    for one in (path, *path.parents):
        try:
            one.stat()
        except OSError:
            continue
        return one
    return Path(path.anchor)
