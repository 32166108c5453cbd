"""Who looks at a page."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from service.domain.actor import Actor
from service.domain.permission import Permission, is_permitted
from service.http.frame import NOW, SESSION
from service.web.app_keys import DOOR

_SOON: Final = timedelta(days=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """The actor and their name, None for somebody who has not signed in, and what their forms must send back.

    ``ends_at`` is when their account ends, where that is soon.
    """

    actor: Actor | None
    name: str | None = None
    csrf: str = field(default="", repr=False)
    ends_at: datetime | None = None

    def may(self, permission: str) -> bool:
        """Tell whether the visitor is permitted something; to show or hide only, the frame and the desk decide."""
        return self.actor is not None and is_permitted(self.actor, Permission(permission))


NOBODY: Final = Visitor(actor=None)


async def visitor_of(request: web.Request) -> Visitor:
    """Return who looks."""
    session = request.get(SESSION)
    if session is None:
        return NOBODY
    users = request.config_dict[DOOR].users
    user = (await users.get(session.actor.id)).user
    until = user.until(users.recertify)
    is_soon = until is not None and until - request[NOW] < _SOON
    return Visitor(
        actor=session.actor,
        name=user.name,
        csrf=session.csrf,
        ends_at=until if is_soon else None,
    )
