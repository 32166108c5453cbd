"""Why a vCon is kept and not believed."""

from typing import Final

from service.domain.errors import InvalidInputError

SIGNATURE_INVALID: Final = "signature_invalid"
"""Its signature is wrong, leads to no trusted certificate, or is missing though the source has to sign."""
ENCRYPTED: Final = "encrypted_for_another"
"""It is encrypted, for a key that is not the archive's."""


class NotBelievedError(InvalidInputError):
    """A delivery that says what nobody vouches for, or that cannot be opened. ``reason`` is a stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
