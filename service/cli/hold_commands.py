"""``taltio holds``: place, list, ask for a release, release."""

import argparse
from datetime import UTC, date, datetime

from service.archive.hold_rows import HoldOrder
from service.cli.actors import get_actor
from service.config import Config
from service.domain.errors import InvalidInputError, NotFoundError
from service.domain.identifiers import CustomerNumber
from service.domain.times import format_time, parse_time
from service.wiring import Archive, opened_archive
from storage.rows import CustomerRow


async def place(config: Config, options: argparse.Namespace) -> int:
    """Place a hold and print its id."""
    async with opened_archive(config) as archive:
        actor = await get_actor(archive, options.actor)
        timezone = config.archive.timezone.key
        order = HoldOrder(
            contact_id=options.contact,
            customer_id=await _customer(archive, options.customer),
            period_from=_moment(options.period_from, timezone),
            period_to=_moment(options.period_to, timezone),
            reason=options.reason,
            reference=options.reference,
            review_on=_day(options.review_on),
        )
        hold = await archive.holds.place(order, actor=actor, now=datetime.now(UTC))
    print(hold.id)
    return 0


async def list_holds(config: Config, options: argparse.Namespace) -> int:
    """Print a line for each hold: id, state, what it is of, placed, review, owner, reference, reason; tabs between."""
    async with opened_archive(config) as archive:
        actor, cursor = await get_actor(archive, options.actor), None
        while True:
            page = await archive.holds.find(
                actor=actor, include_released=options.all, cursor=cursor
            )
            for hold in page.holds:
                period = "/".join(
                    "" if at is None else format_time(at)
                    for at in (hold.period_from, hold.period_to)
                )
                of = hold.contact_id or f"{hold.customer_id} {period}"
                made = format_time(hold.placed_at)
                told = (hold.owner_id, hold.reference or "-", hold.reason)
                print(hold.id, hold.state, of, made, hold.review_on, *told, sep="\t")
            cursor = page.next
            if cursor is None:
                return 0


async def request_release(config: Config, options: argparse.Namespace) -> int:
    """Ask that a hold ends."""
    async with opened_archive(config) as archive:
        actor = await get_actor(archive, options.actor)
        await archive.holds.request_release(options.id, actor=actor, now=datetime.now(UTC))
    print(f"{options.id} holds until a second person releases it.")
    return 0


async def release(config: Config, options: argparse.Namespace) -> int:
    """Agree that a hold ends."""
    async with opened_archive(config) as archive:
        actor = await get_actor(archive, options.actor)
        await archive.holds.release(options.id, actor=actor, now=datetime.now(UTC))
    print(f"{options.id} is released.")
    return 0


async def _customer(archive: Archive, number: str | None) -> str | None:
    if number is None:
        return None
    token = archive.vault.index.token("customer_number", CustomerNumber.parse(number).text)
    rows = await archive.stores.store.find(CustomerRow, {"number_token": token})
    if not rows:
        raise NotFoundError("there is no customer with this number")
    return rows[0].id


def _moment(text: str | None, timezone: str) -> datetime | None:
    try:
        return None if text is None else parse_time(text, timezone=timezone)
    except ValueError as error:
        raise InvalidInputError(f"{text}: {error}") from None


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"{text} is no day such as 2026-11-22") from None
