"""The real stores and keys in a temporary directory, and wrappers that make them fail on command."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from argon2 import PasswordHasher

from service.access.accounts import Accounts
from service.access.invites import Invites
from service.access.own_account import OwnAccount
from service.access.passwords import Passwords
from service.access.sessions import SessionRules, Sessions
from service.access.signin import LockOut, SignIn, SignInRules
from service.access.throttle import Throttle
from service.access.tokens import Tokens
from service.access.users import Users
from service.archive.vault import Vault
from service.domain.actor import OPERATOR, Actor, Role
from service.keys.file import FileKeyProvider
from service.keys.ring import KeyRing
from service.log.entry import LogEntry, decode_entry
from service.web.undertaking import Undertaking
from storage.database.keys import SqliteKeyStore
from storage.database.sqlite import SqliteStore
from storage.ports import Change

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PASSWORD = "correct horse battery staple"  # invented


class Clock:
    """Time that passes only when a test says so; called, it is monotonic seconds."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return (self.now - NOW).total_seconds()

    def wait(self, **duration: float) -> datetime:
        self.now += timedelta(**duration)
        return self.now


class FaultyStore:
    """A store that raises what is planned for a commit, or lets something happen before it."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.faults: list[BaseException | object] = []
        self.changes: list[Change] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, change: Change) -> None:
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, BaseException):
            raise fault
        if callable(fault):
            await fault()
        await self._store.commit(change)
        self.changes.append(change)


@dataclass
class Door:
    """Everything of access on real stores, with cheap password hashes and a clock that stands still."""

    store: FaultyStore
    vault: Vault
    clock: Clock = field(default_factory=Clock)
    rules: SignInRules = field(default_factory=SignInRules)

    def __post_init__(self) -> None:
        # As cheap as Argon2 allows: what the tests are about does not depend on its cost.
        self.passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        parts = {"store": self.store, "vault": self.vault}
        self.users = Users(**parts)
        self.accounts = Accounts(**parts, users=self.users)
        self.invites = Invites(store=self.store, users=self.users, passwords=self.passwords)
        self.sessions = Sessions(store=self.store, users=self.users, rules=SessionRules())
        self.tokens = Tokens(**parts, clock=self.clock)
        self.throttle = Throttle(30, seconds_each=20, clock=self.clock)
        self.sign_in_with(LockOut())

    def sign_in_with(self, lock_out: LockOut) -> None:
        self.signing = SignIn(
            store=self.store,
            users=self.users,
            sessions=self.sessions,
            passwords=self.passwords,
            lock_out=lock_out,
            throttle=self.throttle,
            rules=self.rules,
        )
        self.undertaking = Undertaking(self.rules.undertaking)
        self.own = OwnAccount(
            store=self.store, users=self.users, sessions=self.sessions, signing=self.signing
        )

    async def person(self, login: str = "aino", *roles: Role) -> Actor:
        """Add a user who has set their password, and return who they are."""
        invite = await self.accounts.add(
            login,
            name="Aino Esimerkki",
            roles=roles or [Role.COMPLAINT_HANDLER],
            by=OPERATOR,
            now=self.clock.now,
        )
        await self.invites.accept(invite.secret, PASSWORD, now=self.clock.now)
        return (await self.users.get(invite.user_id)).user.actor

    async def sign_in(self, login: str = "aino", password: str = PASSWORD, **more: object):
        more = {"address": "192.0.2.7", "now": self.clock.now, **more}
        return await self.signing.sign_in(login, password, **more)

    async def session(self, secret: str):
        return await self.sessions.find(secret, now=self.clock.now)

    async def entries(self, kind: str | None = None) -> Sequence[LogEntry]:
        """Return the entries of the log, all or of one type."""
        size = await self.store.log_size()
        stored = await self.store.log_entries(0, size)
        entries = [decode_entry(one.entry) for one in stored]
        return [entry for entry in entries if kind in {None, entry.type.value}]


@asynccontextmanager
async def opened_door(directory: Path) -> AsyncIterator[Door]:
    """Open new stores with new keys below ``directory``, and access on them."""
    provider = FileKeyProvider(directory / "keys", archive=directory / "data")
    provider.create(now=NOW)
    ring = KeyRing(provider.load())
    (directory / "data").mkdir()
    async with (
        SqliteStore.opened(directory / "data" / "taltio.db", create=True) as store,
        SqliteKeyStore.opened(directory / "data" / "keys.db", create=True) as keys,
    ):
        vault = Vault(ring=ring, keys=keys, index=ring.blind_index())
        yield Door(FaultyStore(store), vault)
