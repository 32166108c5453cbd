"""What the handlers of the interface find in the application."""

from typing import Final

from aiohttp import web

from service.archive.attention import Attention
from service.archive.contacts import Contacts
from service.archive.lookup import Finder
from service.config import Config

CONFIG: Final = web.AppKey("config", Config)
CONTACTS: Final = web.AppKey("contacts", Contacts)
FINDER: Final = web.AppKey("finder", Finder)
ATTENTION: Final = web.AppKey("attention", Attention)
