"""What can be wrong with sealed bytes, told apart so that a verdict can be told apart."""

from service.domain.errors import TamperedError, UnavailableError


class HeaderError(TamperedError):
    """An age header breaks the format."""


class HeaderMacError(TamperedError):
    """An age header opened, but its authentication code does not match: it was changed."""


class NoMatchError(UnavailableError):
    """None of the identities at hand opens this header: it was sealed to somebody else."""


class PayloadError(TamperedError):
    """A sealed payload has an impossible length, or one of its chunks does not authenticate."""
