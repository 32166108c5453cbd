"""The errors that the archive raises on purpose: a small public vocabulary."""

from typing import ClassVar


class ArchiveError(Exception):
    """Base of every error we raise on purpose.

    ``str(error)`` is for operators and may name ids, never contents. ``public``
    is the only text a user ever sees; ``code`` is stable and part of the API.
    """

    code: ClassVar[str] = "internal"
    public: ClassVar[str] = "Something went wrong on our side."


class InvalidInputError(ArchiveError):
    """The input is not what it claims to be. ``detail`` says what to do and is safe to show."""

    code = "invalid_input"
    public = "The input is not valid."

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class TooLargeError(ArchiveError):
    """More bytes came than are taken. Nothing was stored."""

    code = "too_large"
    public = "This is larger than what is accepted here."


class NotFoundError(ArchiveError):
    """There is no such thing, or the actor may not know that there is."""

    code = "not_found"
    public = "Not found."


class ContradictionError(ArchiveError):
    """What was sent contradicts what is already archived; the archived stands."""

    code = "contradiction"
    public = "This contradicts what is already archived. What is archived was kept."

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BusyError(ArchiveError):
    """Somebody else is changing this at this moment. Nothing was changed."""

    code = "busy"
    public = "Another request is changing this. Try again in a moment."


class TooManyUploadsError(ArchiveError):
    """The actor has begun too much that is not finished. Nothing was begun."""

    code = "too_many_uploads"
    public = "Too many uploads are open. Finish or remove some of them first."


class HeldError(ContradictionError):
    """A legal hold forbids it; ``detail`` names the hold."""

    code = "held"
    public = "A legal hold keeps this from being erased."


class NotPermittedError(ArchiveError):
    """The actor may not do this."""

    code = "not_permitted"
    public = "You are not permitted to do this."


class GrantRequiredError(NotPermittedError):
    """Content was asked for without a grant that covers it and has not expired."""

    code = "grant_required"
    public = "Opening this needs a purpose. Create a grant first."


class NotSignedInError(ArchiveError):
    """Nobody is signed in, or the token or session is not valid."""

    code = "not_signed_in"
    public = "Sign in, or send a valid token."


class TamperedError(ArchiveError):
    """Stored bytes do not authenticate. Never raised for a fault in checking."""

    code = "altered"
    public = "The stored bytes have been altered."


class ErasedError(ArchiveError):
    """The keys were destroyed on purpose; the content is gone for good. ``detail`` says when and why, where known."""

    code = "erased"
    public = "This was erased."

    def __init__(self, text: str, *, detail: str | None = None) -> None:
        super().__init__(text)
        self.detail = detail


class UnavailableError(ArchiveError):
    """It cannot be done now; trying again later may succeed. Nothing was changed."""

    code = "unavailable"
    public = "This cannot be done right now. Try again in a moment."
