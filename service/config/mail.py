"""Settings of mail: which addresses are taken, and who the company is."""

import re
from typing import Final

from service.config.problems import ValueRefusedError
from service.config.values import Context, Kind, require_texts

_RECIPIENT: Final = re.compile(r"[^@\s]{0,64}@[A-Za-z0-9.-]{1,253}")


def _read_recipients(value: object, _: Context) -> tuple[str, ...]:
    recipients = require_texts(value)
    for one in recipients:
        if not _RECIPIENT.fullmatch(one):
            raise ValueRefusedError(
                f"expected addresses such as archive@example.fi, or @example.fi for a domain, got {one!r}"
            )
    return tuple(one.lower() for one in recipients)


RECIPIENTS = Kind("a list of addresses, or of @domains", _read_recipients)
