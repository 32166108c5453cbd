"""What is said of a source when it is connected: read once, here."""

from collections.abc import Collection
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers

from service.archive.source_rows import SourceDetails
from service.domain.errors import InvalidInputError
from service.domain.identifiers import PhoneNumber
from service.domain.notice import ALL_TRAFFIC, Traffic
from service.sources.carried import USUALLY_CARRIED
from service.sources.kinds import KINDS, Sender

CONNECTABLE: Final = tuple(
    name for name, kind in KINDS.items() if kind.sender in {Sender.SIGNATURE, Sender.SECRET}
)
"""The kinds whose secret the archive makes; the others are connected in the settings."""
MAX_COMPANY_NUMBERS: Final = 1_000
_MAX_GRACE_MINUTES: Final = 30 * 24 * 60


def parse_details(
    kind: str,
    *,
    default_region: str,
    carries: Collection[str] = (),
    country: str = "",
    timezone: str = "",
    grace_minutes: int = 0,
    company_numbers: Collection[str] = (),
) -> SourceDetails:
    """Return what understanding needs to know of a source of ``kind``; what is left empty is as the archive has it.

    Raises:
        InvalidInputError: Something cannot be; the detail says what.
    """
    if kind not in CONNECTABLE:
        raise InvalidInputError(f"a kind that can be connected so: {', '.join(CONNECTABLE)}")
    told = {Traffic.parse(text) for text in carries} or set(USUALLY_CARRIED.get(kind, ()))
    if not told:
        raise InvalidInputError("say what the source carries, such as call inbound")
    if country and country not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInputError("a country is two capital letters, such as FI")
    if not 0 <= grace_minutes <= _MAX_GRACE_MINUTES:
        raise InvalidInputError(f"the grace time is 0 to {_MAX_GRACE_MINUTES} minutes")
    if len(company_numbers) > MAX_COMPANY_NUMBERS:
        raise InvalidInputError(f"there are at most {MAX_COMPANY_NUMBERS} company numbers")
    region = country or default_region
    return SourceDetails(
        region=country,
        timezone=_timezone(timezone),
        grace_minutes=grace_minutes,
        company_numbers=tuple(
            PhoneNumber.parse(number, region=region).e164 for number in company_numbers
        ),
        carries=tuple(str(one) for one in ALL_TRAFFIC if one in told),
    )


def _timezone(text: str) -> str:
    try:
        return ZoneInfo(text).key if text else ""
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInputError("a time zone is one such as Europe/Helsinki") from None
