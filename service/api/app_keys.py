"""What the handlers of the interface find in the application."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from service.archive.attention import Attention
from service.archive.contacts import Contacts
from service.archive.lookup import Finder
from storage.published import PublishedFiles


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where telephone numbers without a country belong (ISO 3166), the zone of dates, and what is too large.

    ``regions`` are those of sources that have one of their own.
    """

    region: str
    regions: Mapping[str, str]
    timezone: str
    max_contact_bytes: int


SETTINGS: Final = web.AppKey("settings", ApiSettings)
CONTACTS: Final = web.AppKey("contacts", Contacts)
FINDER: Final = web.AppKey("finder", Finder)
ATTENTION: Final = web.AppKey("attention", Attention)
PUBLISHED_LOG: Final = web.AppKey("published_log", PublishedFiles)
