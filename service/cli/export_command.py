"""``taltio contacts export``: hand a contact out, which is logged as a disclosure before anything is written."""

import argparse
from datetime import UTC, datetime

from service.access.users import UserState
from service.archive.export import Exporter, Form, Order
from service.config import Config
from service.crypto.recipients import parse_recipient
from service.domain.actor import Actor
from service.domain.errors import InvalidInputError, NotFoundError
from service.domain.purpose import REFERENCE, Purpose
from service.wiring import Archive, opened_archive


async def export(config: Config, options: argparse.Namespace) -> int:
    """Write the contact into a directory of its own below ``--out``, and print where."""
    async with opened_archive(config) as archive:
        order = _order(options)
        actor = await _get_actor(archive, options.actor)
        directory = await exporter_of(archive).export(order, actor=actor, now=datetime.now(UTC))
    print(directory)
    return 0


def exporter_of(archive: Archive) -> Exporter:
    """Return the use case over an open archive."""
    return Exporter(
        store=archive.stores.store,
        blobs=archive.stores.blobs,
        vault=archive.vault,
        verifier=archive.verifier,
        grants=archive.grants,
    )


def _order(options: argparse.Namespace) -> Order:
    try:
        purpose = Purpose(options.purpose)
    except ValueError:
        known = ", ".join(sorted(Purpose))
        raise InvalidInputError(
            f"there is no purpose {options.purpose}; there are {known}"
        ) from None
    given = {"complaint": options.complaint, "request": options.request}
    needed = REFERENCE.get(purpose)
    if any(value is not None and name != needed for name, value in given.items()):
        raise InvalidInputError(f"the purpose {purpose} names {needed or 'nothing'}")
    recipient = parse_recipient(options.recipient) if options.recipient else None
    return Order(
        contact_id=options.contact,
        form=Form(options.format),
        purpose=purpose,
        reference=given[needed] if needed else None,
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
