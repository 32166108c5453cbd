"""Why key material cannot be used. Each message tells an operator what to do about it."""

from service.domain.errors import ArchiveError, UnavailableError


class KeysRefusedError(ArchiveError):
    """The keys are there, and using them as they are would not be safe, or not possible."""

    code = "keys_refused"
    public = "The archive's keys need the administrator's attention."


class KeysMissingError(KeysRefusedError):
    """There are no keys, or not all of them."""

    code = "keys_missing"
    public = "The archive's keys are missing."


class KeysUnavailableError(UnavailableError):
    """What keeps the keys does not give them now. Nothing is opened until it does; what comes in is kept."""

    code = "keys_unavailable"
    public = (
        "The archive's keys are not at hand, so that nothing can be opened right now. Nothing is lost, and what "
        "comes in is kept. Try again in a moment."
    )
