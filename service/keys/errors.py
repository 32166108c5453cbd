"""Why key material cannot be used. Each message tells an operator what to do about it."""

from service.domain.errors import ArchiveError


class KeysRefusedError(ArchiveError):
    """The keys are there, and using them as they are would not be safe, or not possible."""

    code = "keys_refused"
    public = "The archive's keys need the administrator's attention."


class KeysMissingError(KeysRefusedError):
    """There are no keys, or not all of them."""

    code = "keys_missing"
    public = "The archive's keys are missing."
