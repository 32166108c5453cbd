"""Files that settings name: secrets that nobody else may read, and authorities that certificates lead to."""

import ssl
import stat
from pathlib import Path
from typing import Final

from service.domain.errors import InvalidInputError

_OTHERS: Final = 0o077


def read_secret(setting: str, file: Path) -> str:
    """Return what a file says that nobody else may read; ``setting`` is what names it.

    Raises:
        InvalidInputError: It cannot be read, or others may. The detail names the file, and nothing in it.
    """
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{setting}: {file} cannot be read") from error
    if not stat.S_ISREG(mode) or mode & _OTHERS:
        raise InvalidInputError(f"{setting}: others may read {file}; chmod 0400 it")
    return text


def client_tls(setting: str, authority: Path | None) -> ssl.SSLContext | None:
    """Return how certificates are verified that must lead to ``authority``; None: as the system trusts.

    Raises:
        InvalidInputError: The file cannot be used; the detail names it.
    """
    if authority is None:
        return None
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(f"{setting}: {authority} cannot be used: {error}") from error
