"""What a blob may be called."""

import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")


def is_blob_name(text: str) -> bool:
    """Say whether ``text`` can be the name of a blob."""
    return _NAME.fullmatch(text) is not None


def require_blob_name(name: str) -> None:
    """Raise ``ValueError`` where ``name`` is none; names are ours, so that is a mistake of the program."""
    if not is_blob_name(name):
        raise ValueError(f"{name!r} cannot be the name of a blob")
