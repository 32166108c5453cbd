"""The purpose gate's form."""

from collections.abc import Mapping

from service.domain.errors import InvalidInputError
from service.domain.identifiers import require_plain
from service.domain.purpose import REFERENCE, Purpose


def parse_gate(form: Mapping[str, str]) -> tuple[Purpose, str | None]:
    """Return the purpose and the reference that was given; a reference that the purpose does not need is left out.

    Raises:
        InvalidInputError: There is no such purpose, or a needed reference is missing or malformed.
    """
    try:
        purpose = Purpose(form.get("purpose", ""))
    except ValueError:
        raise InvalidInputError("choose a purpose") from None
    if purpose not in REFERENCE:
        return purpose, None
    return purpose, require_plain(form.get("reference", ""), what="the reference")
