"""TLS as a server: the certificate that is shown to whoever connects."""

import ssl
from pathlib import Path

from service.domain.errors import InvalidInputError


def server_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return what answers with ``certificate``; None, plain HTTP, where there is none.

    Raises:
        InvalidInputError: They cannot be used.
    """
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"the certificate {certificate} cannot be used: {error}"
        ) from error
    return context
