"""One setting of a section: a dataclass field that knows its kind, default and meaning."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TypeVar, cast

from service.config.values import Context, Kind

T = TypeVar("T")
_REQUIRED = MISSING


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one setting apart from its value."""

    name: str
    kind: Kind[object]
    default: object
    meaning: str

    @property
    def is_required(self) -> bool:
        """There is no default; the file has to say."""
        return self.default is _REQUIRED


def setting(kind: Kind[T], meaning: str, *, default: object = _REQUIRED) -> T:
    """Describe a field of a section.

    ``default`` is what the file would say; it is read like anything in a file, relative to the
    current directory when a section is made without a file. Returns a field, typed as its value.
    """
    metadata = {"kind": kind, "default": default, "meaning": meaning}
    if default is _REQUIRED:
        return cast("T", field(metadata=metadata))
    return field(default_factory=lambda: kind.read(default, _here()), metadata=metadata)


def settings_of(section: type) -> Mapping[str, Setting]:
    """Return the settings of a section's dataclass by name, in their order."""
    return {f.name: Setting(name=f.name, **f.metadata) for f in fields(section)}


def _here() -> Context:
    base = Path.cwd()
    return Context(base, archive_directory=base / "data")
