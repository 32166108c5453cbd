import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.config import Config, parse_config
from service.domain.actor import Actor, ActorKind, Role
from service.wiring import Archive, key_provider, opened_archive
from tests.postgres import Cluster, running_cluster
from tests.seaweed import Seaweed, running_seaweed

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

CONFIG = """
[access]
second_factor = "offered"
undertaking_version = ""

[[sources]]
name = "pbx"
kind = "api"
company_numbers = ["+358 20 1234567"]

[[sources]]
name = "chat"
kind = "api"
"""


def actor(role: Role, *, source: str | None = None) -> Actor:
    kind = ActorKind.MACHINE if role is Role.INTEGRATION else ActorKind.PERSON
    return Actor(id=f"us_{role}", kind=kind, roles=frozenset({role}), source=source)


# Files of these take longest; begun last, one of them would be waited for alone.
_FIRST = ("system", "conformance", "crash", "keys", "browser", "backup")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest. Tests of a file stay in their order."""

    def place(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def journal_level() -> Iterator[None]:
    """Give the journal its level back: a service that ran in this process set it for all that comes after."""
    journal = logging.getLogger("taltio")
    level = journal.level
    yield
    journal.setLevel(level)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """An object store that all tests of this process share; who stops it uses one of their own."""
    with running_seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return parse_config(CONFIG, base=tmp_path)


@pytest.fixture
async def archive(config: Config) -> AsyncIterator[Archive]:
    """A whole archive on real stores in a temporary directory."""
    key_provider(config).create(now=NOW)
    async with opened_archive(config, create=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server that the tests of this process share; who stops it starts one of their own."""
    with running_cluster() as running:
        yield running
