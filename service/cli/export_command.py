"""``taltio contacts export``: hand a contact out, which is logged as a disclosure before anything is written."""

import argparse
from datetime import UTC, datetime

from service.access.users import UserState
from service.archive.export import Form, Order
from service.config import Config
from service.crypto.recipients import parse_recipient
from service.domain.actor import Actor
from service.domain.errors import InvalidInputError, NotFoundError
from service.domain.purpose import Purpose, decide_reference
from service.wiring import Archive, exporter_of, opened_archive


async def export(config: Config, options: argparse.Namespace) -> int:
    """Write the contact into a directory of its own below ``--out``, and print where."""
    async with opened_archive(config) as archive:
        order = _order(options)
        actor = await _get_actor(archive, options.actor)
        directory = await exporter_of(archive).export(order, actor=actor, now=datetime.now(UTC))
    print(directory)
    return 0


def _order(options: argparse.Namespace) -> Order:
    try:
        purpose = Purpose(options.purpose)
    except ValueError:
        known = ", ".join(sorted(Purpose))
        raise InvalidInputError(
            f"there is no purpose {options.purpose}; there are {known}"
        ) from None
    recipient = parse_recipient(options.recipient) if options.recipient else None
    return Order(
        contact_id=options.contact,
        form=Form(options.format),
        purpose=purpose,
        reference=decide_reference(
            purpose, complaint=options.complaint, request=options.request
        ),
        recipient=recipient,
        out=options.out,
    )


async def _get_actor(archive: Archive, login: str) -> Actor:
    """Return the user, named by login or id, who hands the contact out: somebody answers for it by name."""
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
