"""Reading files that settings of a source name: secrets, and certificates that are trusted."""

import ssl
import stat
from pathlib import Path
from typing import Final

from service.domain.errors import InvalidInputError

_OTHERS: Final = 0o077


def read_secret(setting: str, file: Path, *, section: str = "[[sources]]") -> str:
    """Return what a file says that nobody else may read; ``setting`` of ``section`` names it.

    Raises:
        InvalidInputError: It cannot be read, or others may. The detail names the file, and nothing in it.
    """
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{section} {setting}: {file} cannot be read") from error
    if not stat.S_ISREG(mode) or mode & _OTHERS:
        raise InvalidInputError(f"{section} {setting}: others may read {file}; chmod 0400 it")
    return text


def trusting(setting: str, authority: Path) -> ssl.SSLContext:
    """Return what trusts the certificates in ``authority`` and no others.

    Raises:
        InvalidInputError: There are none.
    """
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"[[sources]] {setting}: {authority} cannot be used: {error}"
        ) from error
