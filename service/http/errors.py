"""What is wrong with a request as a request, whatever it asks for."""

from service.domain.errors import (
    ArchiveError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)


class UnsupportedMediaTypeError(ArchiveError):
    """The body is of a type, charset or content coding that is not taken here."""

    code = "unsupported_media_type"
    public = "This type or encoding of content is not accepted here."

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UnknownVersionError(ArchiveError):
    """The request speaks no version of tus that is spoken here (tus 1.0, "Tus-Resumable")."""

    code = "unknown_version"
    public = "Send Tus-Resumable: 1.0.0."


class CrossSiteError(ArchiveError):
    """The request was made by a page of another site, or without the token of the session."""

    code = "cross_site"
    public = "This request did not come from a page of this archive. Load the page again."


class UnknownHostError(ArchiveError):
    """The request names a host that this archive is not called."""

    code = "unknown_host"
    public = "This archive does not answer to that name. Its name is set with public_url."


class SlowRequestError(ArchiveError):
    """The body came too slowly."""

    code = "too_slow"
    public = "The request took too long to arrive."


class OverloadedError(UnavailableError):
    """As much as may be is worked in already. Nothing was begun."""

    code = "overloaded"
    public = "The archive is busy and has not taken this. Please send it again in a moment."


class MalformedQueryError(InvalidInputError):
    """The query string cannot be what was meant."""

    code = "invalid_query"


class ServedElsewhereError(NotFoundError):
    """Another process of the archive serves this address; ``detail`` names its role."""

    code = "served_elsewhere"
    public = "Another process of this archive serves this address."

    def __init__(self, role: str) -> None:
        super().__init__(role)
        self.detail = f"This process does not serve this address: one of the role {role} does."
