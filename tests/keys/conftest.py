from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.keys.file import FileKeyProvider
from service.keys.pkcs11.safe import TokenSafe
from service.keys.safe import PlainSafe, Safe
from tests.softhsm import SoftToken, made_token

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


@pytest.fixture(scope="session")
def shared_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftToken]:
    """A token that many tests use, and none takes out. Its key is made."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("softhsm")
        token = made_token(folder, patched.setenv)
        token.token(folder / "keys").begin_by_hand(make=True)
        yield token


@pytest.fixture(scope="session")
def token_safe(shared_token: SoftToken) -> Iterator[TokenSafe]:
    token = shared_token.token(shared_token.folder / "keys")
    token.facts()
    yield TokenSafe(token, hold=timedelta(seconds=60))
    token.close()


@pytest.fixture(params=["file", "pkcs11"])
def safe(request: pytest.FixtureRequest) -> Safe:
    """What keeps the secrets: nothing but the directory, or a token."""
    return PlainSafe() if request.param == "file" else request.getfixturevalue("token_safe")
