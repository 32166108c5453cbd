"""Who does something at the command line: a user, by name, so that somebody answers for it."""

from service.access.users import UserState
from service.domain.actor import Actor
from service.domain.errors import InvalidInputError, NotFoundError
from service.wiring import Archive


async def get_actor(archive: Archive, login: str) -> Actor:
    """Return the user, named by login or id.

    Raises:
        InvalidInputError: There is none, or they are disabled.
    """
    users = archive.access.users
    stored = await users.find_by_login(login)
    if stored is None:
        try:
            stored = await users.get(login)
        except NotFoundError:
            raise InvalidInputError(f"there is no user {login}") from None
    if stored.user.state is UserState.DISABLED:
        raise InvalidInputError(f"the user {login} is disabled")
    return stored.user.actor
