"""``taltio contacts export``: hand a contact out, which is logged as a disclosure before anything is written."""

import argparse
from datetime import UTC, datetime

from service.archive.export import Form, Order
from service.cli.actors import get_actor
from service.config import Config
from service.crypto.recipients import parse_recipient
from service.domain.errors import InvalidInputError
from service.domain.purpose import Purpose, decide_reference
from service.wiring import exporter_of, opened_archive


async def export(config: Config, options: argparse.Namespace) -> int:
    """Write the contact into a directory of its own below ``--out``, and print where."""
    async with opened_archive(config) as archive:
        order = _order(options)
        actor = await get_actor(archive, options.actor)
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
        is_unsigned=options.unsigned,
    )
