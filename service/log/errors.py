"""What can be wrong with a log, a checkpoint or a proof."""

from typing import ClassVar

from service.domain.errors import ArchiveError, InvalidInputError, TamperedError


class FormatError(InvalidInputError):
    """The bytes are not in the one form that the format allows."""

    code: ClassVar[str] = "malformed"
    public: ClassVar[str] = "The file is not in the form it should have."


class ProofError(TamperedError):
    """The proof does not lead from what is to be proven to the root hash."""


class SignatureError(TamperedError):
    """A key that is known and trusted did not make the signature that bears its name."""


class UnknownSignerError(ArchiveError):
    """None of the signatures is by a key that the verifier knows, so nothing can be said."""

    code: ClassVar[str] = "unknown_signer"
    public: ClassVar[str] = "This is not signed by the key that was given."
