"""``taltio users``: accounts, by whoever has the machine. Passwords are never typed here; people set their own."""

from collections.abc import Collection, Sequence
from datetime import datetime

from service.access.accounts import Accounts
from service.access.invites import Invite
from service.access.names import parse_role
from service.access.users import User
from service.domain.actor import OPERATOR, Role
from service.domain.errors import NotFoundError
from service.domain.permission import PERMITTED
from service.domain.times import format_time
from service.http.links import invite_link


async def add_user(
    accounts: Accounts,
    login: str,
    *,
    name: str,
    roles: Collection[str],
    base_url: str,
    now: datetime,
    organisation: str = "",
    ends_at: datetime | None = None,
) -> None:
    """Add a user and print the one-time link for their password.

    Raises:
        InvalidInputError: The login, the name, a role, the organisation or the end cannot be.
        ContradictionError: Somebody has this login.
    """
    parsed = [parse_role(role) for role in roles]
    invite = await accounts.add(
        login,
        name=name,
        roles=parsed,
        by=OPERATOR,
        now=now,
        organisation=organisation,
        ends_at=ends_at,
    )
    print(f"{login} was added ({invite.user_id}).")
    _print_idle(parsed)
    _print_invite(invite, base_url)


async def list_users(accounts: Accounts, *, now: datetime) -> None:
    """Print a line for each account: id, state, roles, login, name, when it ends, organisation; tabs between."""
    for user in await accounts.find_all(by=OPERATOR):
        until = accounts.until(user)
        is_over = until is not None and until <= now
        state = "locked" if user.is_locked(now) else user.state.value
        print(
            user.id,
            "ended" if is_over else state,
            ",".join(sorted(user.roles)),
            user.login,
            user.name,
            "" if until is None else format_time(until),
            user.organisation,
            sep="\t",
        )


async def disable_user(accounts: Accounts, login: str, *, now: datetime) -> None:
    """Keep a user out from now on.

    Raises:
        NotFoundError: Nobody has this login.
    """
    user = await _get(accounts, login)
    await accounts.disable(user.id, by=OPERATOR, now=now)
    print(f"{user.login} is disabled; their sessions have ended.")


async def enable_user(accounts: Accounts, login: str, *, now: datetime) -> None:
    """Let a disabled user in again.

    Raises:
        NotFoundError: Nobody has this login.
    """
    user = await _get(accounts, login)
    await accounts.enable(user.id, by=OPERATOR, now=now)
    print(f"{user.login} may sign in again.")


async def set_roles(
    accounts: Accounts, login: str, *, roles: Collection[str], now: datetime
) -> None:
    """Give a user these roles and no others; their sessions end.

    Raises:
        NotFoundError: Nobody has this login.
        InvalidInputError: A role cannot be.
    """
    parsed = [parse_role(role) for role in roles]
    user = await _get(accounts, login)
    await accounts.change_roles(user.id, parsed, by=OPERATOR, now=now)
    print(f"{user.login} is now {', '.join(sorted(set(parsed)))}; their sessions have ended.")
    _print_idle(parsed)


async def confirm_users(accounts: Accounts, logins: Sequence[str], *, now: datetime) -> None:
    """Confirm that these users still need their roles.

    Raises:
        NotFoundError: Nobody has one of these logins. Those before it are confirmed.
    """
    for login in logins:
        user = await _get(accounts, login)
        await accounts.confirm(user.id, by=OPERATOR, now=now)
        print(f"{user.login} is confirmed as {', '.join(sorted(user.roles))}.")


async def set_end(
    accounts: Accounts, login: str, ends_at: datetime | None, *, now: datetime
) -> None:
    """Let a user's account end at a time, or not at all.

    Raises:
        NotFoundError: Nobody has this login.
        InvalidInputError: The end is past, or there has to be one.
    """
    user = await _get(accounts, login)
    await accounts.change_end(user.id, ends_at, by=OPERATOR, now=now)
    when = "does not end" if ends_at is None else f"ends at {format_time(ends_at)}"
    print(f"The account of {user.login} {when}.")


async def reset_user(accounts: Accounts, login: str, *, base_url: str, now: datetime) -> None:
    """Forget a user's password and second factor, and print a one-time link for another password.

    Raises:
        NotFoundError: Nobody has this login.
        ContradictionError: The account is disabled.
    """
    user = await _get(accounts, login)
    invite = await accounts.reset(user.id, by=OPERATOR, now=now)
    print(
        f"Password and second factor of {user.login} were forgotten; their sessions have ended."
    )
    _print_invite(invite, base_url)


async def forget_factor(accounts: Accounts, login: str, *, now: datetime) -> None:
    """Forget a user's second factor; their sessions end.

    Raises:
        NotFoundError: Nobody has this login.
    """
    user = await _get(accounts, login)
    await accounts.remove_second_factor(user.id, by=OPERATOR, now=now)
    print(f"The second factor of {user.login} was forgotten; their sessions have ended.")


async def _get(accounts: Accounts, login: str) -> User:
    user = await accounts.find_by_login(login, by=OPERATOR)
    if user is None:
        raise NotFoundError("nobody has this login")
    return user


def _print_idle(roles: Collection[Role]) -> None:
    for role in sorted(set(roles)):
        if not PERMITTED[role]:
            print(f"Note: the role {role} may do nothing yet.")


def _print_invite(invite: Invite, base_url: str) -> None:
    print(f"Give them this link; it works once, until {format_time(invite.expires_at)}:")
    print(invite_link(base_url, invite.secret))
