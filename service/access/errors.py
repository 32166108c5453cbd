"""What access refuses, beyond the errors of the domain."""

from service.domain.errors import ArchiveError, InvalidInputError, NotSignedInError


class SignInRefusedError(NotSignedInError):
    """Signing in failed. Nobody is told why: unknown, wrong, locked and disabled look the same."""

    code = "sign_in_refused"
    public = "Signing in failed. After several failures an account is locked for a while."


class TicketRefusedError(NotSignedInError):
    """Signing in was begun too long ago, elsewhere, or not at all."""

    code = "ticket_refused"
    public = "Signing in took too long. Begin again."


class WrongCodeError(InvalidInputError):
    """The one-time password is not the one that the app shows now. Nothing was changed."""

    code = "wrong_code"


class LockedError(InvalidInputError):
    """Too many wrong tries: the account is locked for a while. Told only to whoever is in."""

    code = "account_locked"


class InviteRefusedError(NotSignedInError):
    """The one-time link is unknown, was used, was replaced, or has expired."""

    code = "invite_refused"
    public = "This link is not valid any more. Ask for a new one."


class TooManyRequestsError(ArchiveError):
    """Too much from one address or actor. ``retry_after`` is in whole seconds."""

    code = "too_many_requests"
    public = "Too many attempts. Wait a moment, then try again."

    def __init__(self, about: str, *, retry_after: int) -> None:
        super().__init__(about)
        self.retry_after = retry_after
