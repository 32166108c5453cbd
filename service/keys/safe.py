"""What keeps the text of a key file from others: the directory alone, or a token beside it."""

from datetime import timedelta
from typing import Final, Protocol

from service.keys.errors import KeysRefusedError

PLAIN: Final = "key"
WRAPPED: Final = "wrapped"


class Safe(Protocol):
    """Turns the text of a secret key file into what lies on disk, and back."""

    @property
    def suffix(self) -> str:
        """How the names of its files end: ``PLAIN`` or ``WRAPPED``."""
        ...

    @property
    def hold(self) -> timedelta | None:
        """For how long what was opened may be kept in memory; None without a limit."""
        ...

    @property
    def advice(self) -> str:
        """What an operator has to know of copies of these files, as a sentence that ends another one."""
        ...

    def seal(self, name: str, text: bytes) -> bytes:
        """Return what to write as the file ``name``, which is given without its suffix.

        Raises:
            KeysUnavailableError: What seals does not answer now.
            KeysRefusedError: It cannot be used as it is; the message says what to do.
        """
        ...

    def open(self, name: str, data: bytes) -> bytes:
        """Return the text that ``seal`` sealed as ``name``.

        Raises:
            KeysUnavailableError: What opens does not answer now.
            KeysRefusedError: It does not open, and why.
        """
        ...


class PlainSafe:
    """The text as it is: who can read the file has the key. Implements ``Safe``."""

    __slots__ = ()

    suffix = PLAIN
    hold: timedelta | None = None
    advice = "with both, anybody reads everything; without the keys, nobody ever reads anything again."

    def seal(self, name: str, text: bytes) -> bytes:
        """Return ``text``."""
        del name
        return text

    def open(self, name: str, data: bytes) -> bytes:
        """Return ``data``."""
        del name
        return data


PLAIN_SAFE: Final = PlainSafe()


def other_suffix(suffix: str) -> str:
    """Return the suffix of the other safe's files."""
    return WRAPPED if suffix == PLAIN else PLAIN


def require_one_safe(names: frozenset[str], suffix: str, *, directory: object) -> None:
    """Return when no key file lies in the other safe than that of ``suffix``.

    Raises:
        KeysRefusedError: Some do. The message says how to finish, or which provider to name.
    """
    others = sorted(name for name in names if name.endswith(f".{other_suffix(suffix)}"))
    if not others:
        return
    own = any(name.endswith(f".{suffix}") for name in names)
    if suffix == PLAIN:
        begun = (
            "A move of the keys to a token was begun and not finished: run taltio keys move --to pkcs11 and"
            if own
            else "The keys are wrapped by a token:"
        )
        raise KeysRefusedError(
            f'{directory} holds {others[0]}. {begun} set [keys] provider = "pkcs11".'
        )
    raise KeysRefusedError(
        f"{directory} holds {others[0]}, which is not wrapped: whoever reads it needs no token. Finish the move with"
        " taltio keys move --to pkcs11"
    )
