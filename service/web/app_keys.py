"""What the handlers of the pages find in the application."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from service.access.invites import Invites
from service.access.sessions import Sessions
from service.access.signin import SignIn
from service.access.users import Users
from service.web.desk import Desk
from service.web.disposal_desk import Disposals


@dataclass(frozen=True, slots=True)
class Door:
    """Who comes in."""

    signing: SignIn
    sessions: Sessions
    invites: Invites
    users: Users


DESK: Final = web.AppKey("desk", Desk)
DISPOSALS: Final = web.AppKey("disposals", Disposals)
DOOR: Final = web.AppKey("door", Door)
