"""What the handlers of the pages find in the application."""

from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from service.access.invites import Invites
from service.access.own_account import OwnAccount
from service.access.sessions import Sessions
from service.access.signin import SignIn
from service.access.users import Users
from service.web.desk import Desk
from service.web.disposal_desk import Disposals
from service.web.undertaking import Undertaking


@dataclass(frozen=True, slots=True)
class Door:
    """Who comes in."""

    signing: SignIn
    sessions: Sessions
    invites: Invites
    users: Users
    own: OwnAccount
    undertaking: Undertaking = field(default_factory=Undertaking)


DESK: Final = web.AppKey("desk", Desk)
DISPOSALS: Final = web.AppKey("disposals", Disposals)
DOOR: Final = web.AppKey("door", Door)
