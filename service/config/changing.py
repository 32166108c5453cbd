"""Other settings of [storage] than the file has, read and checked as if they stood in it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from service.config.databases import PostgresUrl
from service.config.problems import ValueRefusedError
from service.config.rules import find_contradictions
from service.config.sections import Config, StorageConfig
from service.config.setting import settings_of
from service.config.values import Context
from service.domain.errors import InvalidInputError

OF_BUCKETS = ("region", "endpoint", "country", "credentials_file", "filer")
"""What means nothing unless blobs are in a bucket."""


def with_storage(config: Config, said: Mapping[str, str], *, base: Path) -> Config:
    """Return ``config`` with what ``said`` says of [storage] instead, paths relative to ``base``.

    Backups by itself are left out where the database is then on a server: see the rules.

    Raises:
        InvalidInputError: A value is refused, or contradicts another. A password is not repeated.
    """
    settings = settings_of(StorageConfig)
    context = Context(base, config.archive.directory, config.archive.default_region)
    values: dict[str, object] = {}
    for name, text in said.items():
        try:
            values[name] = settings[name].kind.read(text, context)
        except ValueRefusedError as error:
            raise InvalidInputError(f"[storage] {name}: {error}") from None
    changed = replace(config, storage=replace(config.storage, **values))  # type: ignore[arg-type]  # as they are read
    if isinstance(changed.storage.database, PostgresUrl):
        changed = replace(
            changed, backup=replace(changed.backup, directory=None, keys_directory=None)
        )
    for broken in find_contradictions(changed):
        raise InvalidInputError(f"[{broken.setting[0]}] {broken.setting[-1]}: {broken.reason}")
    return changed
