from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.keys.file import FileKeyProvider

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The key directory and the archive's, neither of which exists yet."""
    return tmp_path / "keys", tmp_path / "data"


@pytest.fixture
def provider(places: tuple[Path, Path]) -> FileKeyProvider:
    keys, archive = places
    return FileKeyProvider(keys, archive=archive)


@pytest.fixture
def created(provider: FileKeyProvider, now: datetime) -> FileKeyProvider:
    provider.create(now=now)
    return provider
