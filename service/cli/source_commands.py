"""``taltio sources``: systems that send to the archive."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from service.archive.source_book import KnownSource
from service.cli.progress import Progress
from service.config import Config
from service.connecting.replaying import Replays, Scope
from service.connecting.settings import parse_details
from service.connections import Connections, connections_of
from service.domain.actor import OPERATOR, Role
from service.domain.errors import ContradictionError, InvalidInputError
from service.domain.times import format_time, from_microseconds
from service.sources.strict_json import decode_json
from service.wiring import opened_archive

_OPERATOR: Final = replace(OPERATOR, roles=frozenset({Role.ADMIN}))
_MAX_FILE_BYTES: Final = 256 * 1024


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[Connections]:
    async with opened_archive(config) as archive:
        yield connections_of(archive)


def _now() -> datetime:
    return datetime.now(UTC)


async def add(config: Config, options: argparse.Namespace) -> int:
    """Connect a source; print its secret and nothing else, so that a script can take it."""
    details = parse_details(
        options.kind,
        default_region=config.archive.default_region,
        carries=options.carries,
        country=options.country,
        timezone=options.timezone,
        grace_minutes=options.grace_minutes,
        company_numbers=options.company_number,
    )
    name = options.name or options.kind
    async with _opened(config) as connections:
        made = await connections.sources.add(
            name, options.kind, details, actor=_OPERATOR, now=_now()
        )
    print(made.secret)
    print(
        f"This is shown once. {name} sends to /intake/{name}, and is not live: taltio sources live {name}",
        file=sys.stderr,
    )
    return 0


async def list_sources(config: Config, _: argparse.Namespace) -> int:
    """Print a line for each source: name, kind, state, where it is kept, deliveries, those not understood, the last."""
    async with _opened(config) as connections:
        for source in await connections.sources.find_all(actor=_OPERATOR):
            told = connections.deliveries
            last = await told.last_at(source.name)
            print(
                source.name,
                source.kind,
                _state(source),
                "settings" if source.row is None else "database",
                await told.count(source.name),
                await told.count(source.name, states=("failed",)),
                "-" if last is None else format_time(last),
                sep="\t",
            )
    return 0


async def show(config: Config, options: argparse.Namespace) -> int:
    """Tell of one source; never its secret."""
    async with _opened(config) as connections:
        source = await connections.sources.get(options.name, actor=_OPERATOR)
        replay = await connections.replays.find(source.name)
        uncovered = connections.sources.find_uncovered(source, now=_now())
    lines = {
        "name": source.name,
        "kind": source.kind,
        "state": _state(source),
        "address": f"/intake/{source.name}",
        "carries": ", ".join(map(str, source.carries)) or "not told",
        "not covered by the notice": ", ".join(map(str, uncovered)) or "nothing",
        "country": source.rule.region,
        "time zone": source.rule.timezone.key,
        "company numbers": ", ".join(sorted(source.rule.company_numbers)) or "none",
        "field map": ", ".join(source.details.field_map) or "none",
        "last replay": "none"
        if replay is None
        else f"{replay.scope}, {format_time(from_microseconds(replay.begun_at))}: {replay.state}, {replay.done} of "
        f"{replay.total}, {replay.changed} changed, {replay.failed} not",
    }
    for name, value in lines.items():
        print(f"{name}: {value}")
    return 0


async def deliveries(config: Config, options: argparse.Namespace) -> int:
    """Print a line for each of the newest deliveries: id, time, kind, bytes, state, contact, and its checks."""
    async with _opened(config) as connections:
        found = await connections.deliveries.find(options.name, actor=_OPERATOR, now=_now())
    for one in found:
        checks = " ".join(f"{check.name}={check.code}" for check in one.checks)
        print(
            one.id,
            format_time(one.received_at),
            one.kind,
            one.size_bytes,
            one.state,
            one.contact_id or "-",
            checks,
            sep="\t",
        )
        for check in one.checks:
            if check.detail is not None:
                print(f"\t{check.name}: {check.detail}")
    return 0


async def change_secret(config: Config, options: argparse.Namespace) -> int:
    """Print a new secret of a source and nothing else."""
    if options.overlap_hours < 0:
        raise InvalidInputError("--overlap-hours is not less than 0")
    async with _opened(config) as connections:
        made = await connections.sources.change_secret(
            options.name,
            actor=_OPERATOR,
            now=_now(),
            overlap=timedelta(hours=min(options.overlap_hours, 10_000)),
        )
    print(made.secret)
    return 0


async def map_fields(config: Config, options: argparse.Namespace) -> int:
    """Give a source the field map of a file; without one, print that which it has."""
    texts = None
    if options.file is not None:
        texts = _texts(await asyncio.to_thread(options.file.read_bytes))
    async with _opened(config) as connections:
        if texts is None:
            source = await connections.sources.get(options.name, actor=_OPERATOR)
            print(json.dumps(source.details.field_map, indent=2, ensure_ascii=False))
        else:
            await connections.sources.change_map(
                options.name, texts, actor=_OPERATOR, now=_now()
            )
            print(f"{options.name} is read by {len(texts)} rules." if texts else "No map now.")
    return 0


def _texts(data: bytes) -> Mapping[str, str]:
    if len(data) > _MAX_FILE_BYTES:
        raise InvalidInputError("a field map is at most 256 KiB")
    value = decode_json(data)
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidInputError("a field map is a JSON object: a rule, as text, for each field")
    return value


async def go_live(config: Config, options: argparse.Namespace) -> int:
    """Let what a source delivers from now on become contacts."""
    async with _opened(config) as connections:
        await connections.sources.go_live(options.name, actor=_OPERATOR, now=_now())
        print(f"{options.name} is live.")
        if options.with_trials:
            await _replay(connections.replays, options.name, Scope.TRIAL)
    return 0


async def replay(config: Config, options: argparse.Namespace) -> int:
    """Understand deliveries anew, beside the running service."""
    async with _opened(config) as connections:
        source = await connections.sources.get(options.name, actor=_OPERATOR)
        if options.scope is None:
            result = await connections.replays.replay_one(
                source.name, options.delivery, actor=_OPERATOR, now=_now()
            )
            told = "something new" if result.is_changed else "nothing new"
            print("It is not understood." if result.is_failed else f"It tells {told}.")
            return 0
        if source.is_connecting:
            raise ContradictionError(
                f"{source.name} is not live: what it delivers becomes contacts then"
            )
        await _replay(connections.replays, source.name, options.scope)
    return 0


async def _replay(replays: Replays, name: str, scope: Scope) -> None:
    await replays.begin(name, scope, actor=_OPERATOR, now=_now(), is_queued=False)
    await replays.run(name, _now(), on_progress=Progress("deliveries"))
    row = await replays.find(name)
    if row is not None:
        print(
            f"{row.done} tried, {row.changed} told something new, {row.failed} could not be used."
        )


async def remove(config: Config, options: argparse.Namespace) -> int:
    """Take nothing more from a source."""
    async with _opened(config) as connections:
        await connections.sources.remove(options.name, actor=_OPERATOR, now=_now())
    print(f"{options.name} is removed. What it delivered stays.")
    return 0


def _state(source: KnownSource) -> str:
    return "connecting" if source.is_connecting else "live"
