"""``taltio serve``: the service, until it is told to stop."""

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import replace
from datetime import UTC, datetime
from typing import NoReturn

from aiohttp import web

from service.backup.placing import require_whole
from service.beginning import beginning, is_new, make_directory
from service.cli.journal import write_journal
from service.cli.notify import READY, STOPPING, notify, watched
from service.cli.overwriting import overwrite_what_is_freed
from service.cli.tuning import tune
from service.config import Config, PostgresUrl
from service.config.roles import ProcessRole
from service.domain.errors import InvalidInputError
from service.http.links import invite_link
from service.http.server import Patience, listening
from service.http.tls import server_tls
from service.intake.mail_server import listening_for_mail
from service.listeners import mail_doors
from service.serving import Service, build_service, clock, working
from service.serving_intake import IntakeService, build_intake_service, taking_in
from service.wiring import held_alone, key_provider, opened_archive
from service.wiring_intake import opened_receiving_archive

_log = logging.getLogger("taltio")


async def serve(config: Config, options: argparse.Namespace) -> int:
    """Serve until a signal asks to stop; finish what was begun, then end."""
    role = ProcessRole(options.role)
    require_shared(config, role)
    if role is ProcessRole.INTAKE and not overwrite_what_is_freed():
        print("What is freed is not overwritten here: that takes glibc.", flush=True)
    if options.port is not None:
        listen = replace(config.web.listen, port=options.port)
        config = replace(config, web=replace(config.web, listen=listen))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with _running(config, role) as (service, address):
        tune()
        print(_told(role, address), flush=True)
        if isinstance(service, Service) and role.serves_desk:
            await print_first_link(service, address)
        notify(READY)
        async with watched():
            await stop.wait()
        notify(STOPPING)
        if service.stores.soundness.is_lost:
            _end_at_once()
        print("Stopping: what was begun is finished first.", flush=True)
    return 0


def _told(role: ProcessRole, address: str) -> str:
    return f"Taltio is at {address}" + ("" if role is ProcessRole.ALL else f" ({role})")


def _running(
    config: Config, role: ProcessRole
) -> AbstractAsyncContextManager[tuple[Service | IntakeService, str]]:
    if role is ProcessRole.INTAKE:
        return running_intake(config)
    return running_service(config, role=role)


def _end_at_once() -> NoReturn:
    """End as in a crash: closing would sync files once more of which a sync has failed."""
    from service.cli.main import EXIT_FAILED  # noqa: PLC0415  # that module imports this one

    print("Stopping at once, because a sync failed: mend the disk and start again.", flush=True)
    os._exit(EXIT_FAILED)


def require_shared(config: Config, role: ProcessRole) -> None:
    """Return when a process of ``role`` can share the archive with others.

    Raises:
        InvalidInputError: The archive is one process's alone.
    """
    if role is not ProcessRole.ALL and not isinstance(config.storage.database, PostgresUrl):
        raise InvalidInputError(
            f"--role {role} shares the archive with other processes, which takes PostgreSQL: on SQLite one process "
            "does everything (--role all). Set [storage] database to a postgresql:// URL; docs/operations.md, "
            '"Several processes", says how'
        )


@asynccontextmanager
async def running_intake(config: Config) -> AsyncIterator[tuple[IntakeService, str]]:
    """Take deliveries in inside the block; yield what does, and the address at which it answers.

    Raises:
        UnavailableError: There is no archive yet.
        InvalidInputError: It cannot listen where it should, or a file that the configuration names is unfit.
    """
    write_journal(config.journal)
    make_directory(config)
    async with opened_receiving_archive(config) as archive:
        service = build_intake_service(archive)
        async with (
            taking_in(service),
            _taking_mail(config, service.app),
            _listening(config, service.app) as address,
        ):
            yield service, address


@asynccontextmanager
async def running_service(
    config: Config, *, role: ProcessRole = ProcessRole.ALL, is_quiet: bool = False
) -> AsyncIterator[tuple[Service, str]]:
    """Run the service of ``role`` inside the block; yield it and the address at which it answers.

    The advice on new keys is printed unless ``is_quiet``.

    Raises:
        UnavailableError: Another service runs on the same directory.
        InvalidInputError: It cannot listen where it should, or a file that the configuration names is unfit.
    """
    write_journal(config.journal)
    require_whole(config.archive.directory)
    if role.works:
        # Before anything is made: what refuses here leaves an empty place, as a restore needs it.
        await is_new(config)
    make_directory(config)
    with held_alone(config):
        # Who only serves makes no archive: two that begin one at once could each make keys of their own.
        create = role.works and await is_new(config)
        async with AsyncExitStack() as stack:
            with beginning(config) if create else nullcontext():
                if create:
                    advice = key_provider(config).create(now=datetime.now(UTC))
                    if not is_quiet:
                        print(advice, flush=True)
                archive = await stack.enter_async_context(opened_archive(config, create=create))
            service = build_service(archive, role)
            async with (
                working(service),
                _taking_mail(config, service.app, is_wanted=role.takes_in),
                _listening(config, service.app) as address,
            ):
                yield service, address


@asynccontextmanager
async def _listening(config: Config, app: web.Application) -> AsyncIterator[str]:
    listen, tls = (
        config.web.listen,
        server_tls(config.web.certificate, config.web.certificate_key),
    )
    async with AsyncExitStack() as stack:
        try:
            bound = await stack.enter_async_context(
                listening(
                    app,
                    listen.host,
                    listen.port,
                    tls=tls,
                    trusted_proxies=config.web.trusted_proxies,
                    patience=Patience(
                        head_seconds=config.limits.head_seconds,
                        body_seconds=config.limits.body_seconds,
                        per_address=config.limits.connections_per_address,
                    ),
                    shutdown_seconds=config.web.shutdown_seconds,
                )
            )
        except OSError as error:
            raise InvalidInputError(
                f"cannot listen on {listen}: {error.strerror}; change [web] listen"
            ) from error
        yield _address(config, *bound)


@asynccontextmanager
async def _taking_mail(
    config: Config, app: web.Application, *, is_wanted: bool = True
) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for listen, door in mail_doors(app, config, clock) if is_wanted else ():
            seconds = config.web.shutdown_seconds
            opened = listening_for_mail(
                door, listen.host, listen.port, shutdown_seconds=seconds
            )
            try:
                host, port = await stack.enter_async_context(opened)
            except OSError as error:
                raise InvalidInputError(
                    f"cannot listen on {listen}: {error.strerror}; change mail_listen of the source {door.rules.source}"
                ) from error
            extra = {"source": door.rules.source, "address": f"{host}:{port}"}
            _log.info("mail.listening", extra=extra)
        yield


def _address(config: Config, host: str, port: int) -> str:
    if config.web.public_url is not None:
        return config.web.public_url
    scheme = "https" if config.web.is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def print_first_link(service: Service, address: str) -> None:
    """Print a one-time link for the first administrator, while there is nobody."""
    accounts = service.archive.access.accounts
    invite = await accounts.invite_first_administrator(now=datetime.now(UTC))
    if invite is not None:
        print(
            "There are no users yet. Within an hour, set the first administrator's password at"
        )
        print(f"  {invite_link(address, invite.secret)}", flush=True)
