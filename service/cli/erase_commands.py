"""``taltio erase``: ask that a contact is erased, agree as the second person, take it back, list."""

import argparse
import sys
from datetime import UTC, datetime

from service.cli.actors import get_actor
from service.config import Config
from service.domain.errors import InvalidInputError
from service.domain.retention import ErasureState, Ground
from service.domain.times import format_time
from service.wiring import opened_archive


async def request(config: Config, options: argparse.Namespace) -> int:
    """Ask that a contact is erased, and print the id of the erasure."""
    try:
        ground = Ground(options.ground)
    except ValueError:
        known = ", ".join(sorted(Ground))
        raise InvalidInputError(
            f"there is no ground {options.ground}; there are {known}"
        ) from None
    async with opened_archive(config) as archive:
        actor = await get_actor(archive, options.actor)
        erasure = await archive.erasures.request(
            options.contact,
            ground=ground,
            reference=options.reference,
            actor=actor,
            now=datetime.now(UTC),
        )
    print(erasure.id)
    return 0


async def approve(config: Config, options: argparse.Namespace) -> int:
    """Agree to an erasure; 0 when all of it is done, 2 when some of it is still to be finished."""
    async with opened_archive(config) as archive:
        actor = await get_actor(archive, options.actor)
        erasure = await archive.erasures.approve(options.id, actor=actor, now=datetime.now(UTC))
    if erasure.state is ErasureState.ERASED:
        print(f"{erasure.contact_id} is erased; what opened it is destroyed.")
        return 0
    print(
        f"{erasure.contact_id} is erased for everybody, but not all of what opened it could be destroyed yet: "
        "the running service goes on with it.",
        file=sys.stderr,
    )
    return 2


async def withdraw(config: Config, options: argparse.Namespace) -> int:
    """Take a request back."""
    async with opened_archive(config) as archive:
        actor = await get_actor(archive, options.actor)
        await archive.erasures.withdraw(options.id, actor=actor, now=datetime.now(UTC))
    print(f"{options.id} is withdrawn.")
    return 0


async def list_erasures(config: Config, options: argparse.Namespace) -> int:
    """Print a line for each erasure: id, state, contact, ground, by whom and when, and who agreed; tabs between."""
    async with opened_archive(config) as archive:
        actor, cursor = await get_actor(archive, options.actor), None
        while True:
            page = await archive.erasures.find(actor=actor, cursor=cursor)
            for one in page.erasures:
                asked = (one.requested_by, format_time(one.requested_at))
                agreed = one.approved_by or "-"
                print(one.id, one.state, one.contact_id, one.ground, *asked, agreed, sep="\t")
            cursor = page.next
            if cursor is None:
                return 0
