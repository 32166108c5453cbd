"""Verifying what people, machines and sources may do: roles and states, held against the log."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from service.archive.checks import Check, Code, failed
from service.archive.verify_rows import pages
from service.log.entry import EntryType, LogEntry, decode_entry
from service.log.errors import FormatError
from storage.ports import LogStore, Store, StoredEntry
from storage.rows import SourceRow, TokenRow, UserRow

_READINGS: Final = 3
_DISABLED: Final = "disabled"


@dataclass(frozen=True, slots=True)
class AccountChecker:
    """Checks accounts and tokens. Somebody may change them meanwhile: what does not fit is read anew."""

    store: Store
    log: LogStore

    async def users(self) -> AsyncIterator[Check]:
        """Yield a failed check for each account whose roles or state are not those that the log tells of."""
        async for rows in pages(self.store, UserRow):
            for row in rows:
                check = await self._user(row)
                if check is not None:
                    yield check

    async def tokens(self) -> AsyncIterator[Check]:
        """Yield a failed check for each token of a machine that may do other than the log says."""
        async for rows in pages(self.store, TokenRow):
            for row in rows:
                check = await self._token(row)
                if check is not None:
                    yield check

    async def sources(self) -> AsyncIterator[Check]:
        """Yield a failed check for each connected source that the log does not tell of, or not as it is."""
        async for rows in pages(self.store, SourceRow):
            for row in rows:
                check = await self._source(row)
                if check is not None:
                    yield check

    async def _user(self, row: UserRow) -> Check | None:
        found: Sequence[UserRow] = [row]
        for _ in range(_READINGS):
            if not found or _is_user_as_logged(found[0], await self._about(row.id)):
                return None
            found = await self.store.find(UserRow, {"id": row.id})
        told = "Its roles or its state are not those that the log tells of."
        return failed(Code.ACCOUNT, row.id, told)

    async def _token(self, row: TokenRow) -> Check | None:
        found: Sequence[TokenRow] = [row]
        for _ in range(_READINGS):
            if not found or _is_token_as_logged(found[0], await self._about(row.id)):
                return None
            found = await self.store.find(TokenRow, {"id": row.id})
        told = "Its role, its source or its revocation is not what the log tells of."
        return failed(Code.ACCOUNT, row.id, told)

    async def _source(self, row: SourceRow) -> Check | None:
        found: Sequence[SourceRow] = [row]
        for _ in range(_READINGS):
            if not found or _is_source_as_logged(found[0], await self._about(row.id)):
                return None
            found = await self.store.find(SourceRow, {"id": row.id})
        told = "Its name, its kind or whether it is live is not what the log tells of."
        return failed(Code.ACCOUNT, row.id, told)

    async def _about(self, subject: str) -> list[LogEntry]:
        return _readable(await self.log.log_about(subject))


def _is_user_as_logged(row: UserRow, entries: Sequence[LogEntry]) -> bool:
    roles: object = None
    is_disabled = False
    for entry in entries:
        if entry.type not in {EntryType.USER_CREATED, EntryType.USER_CHANGED}:
            continue
        roles = entry.data.get("roles", roles)
        change = entry.data.get("change")
        if change in {_DISABLED, "enabled"}:
            is_disabled = change == _DISABLED
    told = ",".join(str(role) for role in roles) if isinstance(roles, tuple) else None
    return (told, is_disabled) == (row.roles, row.state == _DISABLED)


def _is_token_as_logged(row: TokenRow, entries: Sequence[LogEntry]) -> bool:
    made = [entry for entry in entries if entry.type is EntryType.TOKEN_CREATED]
    is_revoked = any(entry.type is EntryType.TOKEN_REVOKED for entry in entries)
    told = [(entry.data.get("role"), entry.data.get("source")) for entry in made]
    return told == [(row.role, row.source)] and is_revoked == (row.revoked_at is not None)


def _is_source_as_logged(row: SourceRow, entries: Sequence[LogEntry]) -> bool:
    added = [entry for entry in entries if entry.type is EntryType.SOURCE_ADDED]
    is_live = any(
        entry.type is EntryType.SOURCE_CHANGED and entry.data.get("change") == "live"
        for entry in entries
    )
    told = [(entry.data.get("source"), entry.data.get("kind")) for entry in added]
    return told == [(row.name, row.kind)] and is_live == (row.state == "live")


def _readable(stored: Iterable[StoredEntry]) -> list[LogEntry]:
    entries = []
    for one in stored:
        try:
            entries.append(decode_entry(one.entry))
        except FormatError:
            # That it cannot be read is reported with the log.
            continue
    return entries
