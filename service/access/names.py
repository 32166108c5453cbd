"""Logins, names and roles as people type them: one form each, or refused."""

import unicodedata
from collections.abc import Collection
from typing import Final

from service.domain.actor import Role
from service.domain.errors import InvalidInputError

_MAX_LOGIN: Final = 128
_MAX_NAME: Final = 200


def parse_login(text: str) -> str:
    """Return the login that ``text`` types: without outer spaces, capitals and compatibility characters do not count.

    Raises:
        InvalidInputError: Empty, too long, or with spaces or characters that cannot be seen.
    """
    login = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    login = login.strip()
    if not 0 < len(login) <= _MAX_LOGIN or not login.isprintable() or " " in login:
        raise InvalidInputError(
            f"a login has 1 to {_MAX_LOGIN} visible characters and no spaces"
        )
    return login


def parse_name(text: str) -> str:
    """Return the name of a person or token, in one line.

    Raises:
        InvalidInputError: Empty, too long, or with characters that cannot be seen.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise InvalidInputError(f"a name has 1 to {_MAX_NAME} visible characters")
    return name


def parse_role(text: str) -> Role:
    """Return the role that ``text`` names.

    Raises:
        InvalidInputError: There is no such role.
    """
    try:
        return Role(text)
    except ValueError:
        raise InvalidInputError(f"a role is one of {', '.join(Role)}") from None


def require_personal(roles: Collection[Role]) -> None:
    """Return when a person may have ``roles``.

    Raises:
        InvalidInputError: There are none, or one is for machines.
    """
    if not roles:
        raise InvalidInputError("a user has at least one role")
    if Role.INTEGRATION in roles:
        raise InvalidInputError("the role integration is for tokens, not for people")
