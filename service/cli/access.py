"""``taltio users`` and ``taltio tokens``: the functions that open the archive for them."""

import argparse
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from service.cli import tokens, users
from service.config import Config
from service.domain.errors import InvalidInputError
from service.wiring import Access, opened_archive


@asynccontextmanager
async def _access(config: Config) -> AsyncIterator[Access]:
    async with opened_archive(config) as archive:
        yield archive.access


def _now() -> datetime:
    return datetime.now(UTC)


async def add_user(config: Config, options: argparse.Namespace) -> int:
    """Add a user and print their one-time link."""
    async with _access(config) as access:
        await users.add_user(
            access.accounts,
            options.login,
            name=options.name or options.login,
            roles=options.roles,
            base_url=_base_url(config),
            now=_now(),
            organisation=options.organisation,
            ends_at=_end_of(options.until, config.archive.timezone),
        )
    return 0


def _end_of(text: str | None, timezone: ZoneInfo) -> datetime | None:
    """Return when the last day of an account is over; None where it has none.

    Raises:
        InvalidInputError: It is no day.
    """
    if text in {None, "never"}:
        return None
    try:
        day = date.fromisoformat(text or "") + timedelta(days=1)
        return datetime.combine(day, time(), timezone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"{text!r} is no day: give one such as 2026-12-31") from error


async def confirm_users(config: Config, options: argparse.Namespace) -> int:
    """Confirm that users still need their roles."""
    async with _access(config) as access:
        await users.confirm_users(access.accounts, options.logins, now=_now())
    return 0


async def set_end(config: Config, options: argparse.Namespace) -> int:
    """Let a user's account end."""
    ends_at = _end_of(options.day, config.archive.timezone)
    async with _access(config) as access:
        await users.set_end(access.accounts, options.login, ends_at, now=_now())
    return 0


async def list_users(config: Config, _: argparse.Namespace) -> int:
    """Print every user."""
    async with _access(config) as access:
        await users.list_users(access.accounts, now=_now())
    return 0


async def disable_user(config: Config, options: argparse.Namespace) -> int:
    """Keep a user out."""
    async with _access(config) as access:
        await users.disable_user(access.accounts, options.login, now=_now())
    return 0


async def enable_user(config: Config, options: argparse.Namespace) -> int:
    """Let a disabled user in again."""
    async with _access(config) as access:
        await users.enable_user(access.accounts, options.login, now=_now())
    return 0


async def set_roles(config: Config, options: argparse.Namespace) -> int:
    """Give a user other roles."""
    async with _access(config) as access:
        await users.set_roles(access.accounts, options.login, roles=options.roles, now=_now())
    return 0


async def reset_user(config: Config, options: argparse.Namespace) -> int:
    """Void a password and second factor, and print a new one-time link."""
    async with _access(config) as access:
        await users.reset_user(
            access.accounts, options.login, base_url=_base_url(config), now=_now()
        )
    return 0


async def forget_factor(config: Config, options: argparse.Namespace) -> int:
    """Let a user set up another second factor."""
    async with _access(config) as access:
        await users.forget_factor(access.accounts, options.login, now=_now())
    return 0


async def create_token(config: Config, options: argparse.Namespace) -> int:
    """Print a new token and nothing else."""
    async with opened_archive(config) as archive:
        await archive.book.refresh()
        names = sorted(archive.book.all())
        _note_unknown(options.source, names)
        await tokens.create_token(
            archive.access.tokens,
            options.name,
            role=options.role,
            source=options.source,
            now=_now(),
        )
    return 0


def _note_unknown(source: str | None, names: Sequence[str]) -> None:
    if source is not None and source not in names:
        near = get_close_matches(source, names, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        told = f"Note: no source is called {source}{meant} Only this token sends from it."
        print(told, file=sys.stderr)


async def list_tokens(config: Config, _: argparse.Namespace) -> int:
    """Print every token, without its secret."""
    async with _access(config) as access:
        await tokens.list_tokens(access.tokens)
    return 0


async def revoke_token(config: Config, options: argparse.Namespace) -> int:
    """Make a token worth nothing."""
    async with _access(config) as access:
        await tokens.revoke_token(access.tokens, options.id, now=_now())
    return 0


def _base_url(config: Config) -> str:
    scheme = "https" if config.web.is_tls else "http"
    return config.web.public_url or f"{scheme}://{config.web.listen}"
