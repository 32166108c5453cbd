"""From a file to a checked ``Config``, or to everything that is wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from service.config import rules
from service.config.document import Document, parse_document
from service.config.problems import ConfigError, Problem, ValueRefusedError
from service.config.sections import (
    LISTS,
    SECTIONS,
    AccessConfig,
    ArchiveConfig,
    BackupConfig,
    Config,
    DisclosureConfig,
    GrantsConfig,
    IntakeConfig,
    JournalConfig,
    KeysConfig,
    LimitsConfig,
    LogConfig,
    MediaConfig,
    NoticeConfig,
    SourceConfig,
    StorageConfig,
    WebConfig,
    WitnessConfig,
)
from service.config.setting import Setting, settings_of
from service.config.values import Context, describe

T = TypeVar("T")
DEFAULT_FILE = "config.toml"
_MAX_FILE_BYTES = 256 * 1024


def load_config(path: Path | None = None) -> Config:
    """Return the configuration in ``path``, or of ``config.toml`` here, or every default.

    Relative paths in it are relative to the file; without a file, to the current directory.

    Raises:
        ConfigError: All that is wrong, each with its line. A ``path`` that is not there is wrong.
    """
    file = path or Path(DEFAULT_FILE)
    base = file.absolute().parent
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        if path is None:
            return parse_config("", base=base)
        raise ConfigError([Problem(None, "there is no such file")], file=str(file)) from error
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(None, reason)], file=str(file)) from error
    return parse_config(_decode(content, file=str(file)), base=base, file=str(file))


def parse_config(text: str, *, base: Path, file: str = DEFAULT_FILE) -> Config:
    """Return the configuration that ``text`` says, its paths relative to ``base``.

    Raises:
        ConfigError: All that is wrong with it; ``file`` is what the messages call it.
    """
    document = parse_document(text)
    reader = _Reader(document, [*document.problems])
    config = reader.read_config(base)
    if reader.problems:
        raise ConfigError(reader.problems, file=file)
    return config


def _decode(content: bytes, *, file: str) -> str:
    """Return ``content`` as text (TOML 1.0: UTF-8); a byte order mark is forgiven."""
    if len(content) > _MAX_FILE_BYTES:
        problem = Problem(None, f"is larger than {_MAX_FILE_BYTES} bytes")
        raise ConfigError([problem], file=file)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(line, "is not UTF-8")], file=file) from error


@dataclass(slots=True)
class _Reader:
    """Reads one document, collecting what is wrong; a wrong value reads as its default."""

    document: Document
    problems: list[Problem]
    refused: set[tuple[str | int, ...]] = field(default_factory=set)

    def read_config(self, base: Path) -> Config:
        """Return the configuration; worth nothing if there are problems."""
        self._refuse_unknown_sections()
        plain = Context(base)
        archive = self._section("archive", ArchiveConfig, plain)
        intake = self._section("intake", IntakeConfig, plain)
        context = Context(
            base, archive.directory, archive.default_region, intake.expected_grace_minutes
        )
        config = Config(
            web=self._section("web", WebConfig, context),
            archive=archive,
            keys=self._section("keys", KeysConfig, context),
            storage=self._section("storage", StorageConfig, context),
            intake=intake,
            log=self._section("log", LogConfig, context),
            journal=self._section("journal", JournalConfig, context),
            backup=self._section("backup", BackupConfig, context),
            limits=self._section("limits", LimitsConfig, context),
            access=self._section("access", AccessConfig, context),
            grants=self._section("grants", GrantsConfig, context),
            media=self._section("media", MediaConfig, context),
            notice=self._section("notice", NoticeConfig, context),
            disclosure=self._section("disclosure", DisclosureConfig, context),
            sources=tuple(self._sources(context)),
            witnesses=tuple(self._witnesses(context)),
        )
        for broken in rules.find_contradictions(config):
            # What could not be read stands at its default, which nobody asked for.
            if self.refused.isdisjoint((broken.setting, *broken.others)):
                section, *_, name = broken.setting
                title = f"[[{section}]]" if section in LISTS else f"[{section}]"
                self._add(broken.setting, f"{title} {name}: {broken.reason}")
        return config

    def _refuse_unknown_sections(self) -> None:
        known = [*SECTIONS, *LISTS]
        for name, value in self.document.tables.items():
            if name not in known:
                self._add((name,), f"{_shown(name)}: {_unknown_section(name, value, known)}")

    def _section(self, name: str, section: type[T], context: Context) -> T:
        table = self.document.tables.get(name, {})
        if not isinstance(table, dict):
            self._add((name,), f"[{name}]: expected a section, got {describe(table)}")
            table = {}
        return self._table((name,), f"[{name}]", table, section, context)

    def _sources(self, context: Context) -> Iterator[SourceConfig]:
        for path, table in self._listed("sources", "source"):
            country = table.get("country")
            own = context
            if isinstance(country, str) and country:
                own = replace(context, default_region=country)
            yield self._table(path, "[[sources]]", table, SourceConfig, own)

    def _witnesses(self, context: Context) -> Iterator[WitnessConfig]:
        for path, table in self._listed("witnesses", "witness"):
            read = len(self.problems)
            witness = self._table(path, "[[witnesses]]", table, WitnessConfig, context)
            # One that could not be read has no name and no key to compare.
            if len(self.problems) == read:
                yield witness

    def _listed(
        self, name: str, one: str
    ) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, object]]]:
        tables = self.document.tables.get(name, [])
        if not isinstance(tables, list):
            self._add((name,), f"[{name}]: write [[{name}]], once for each {one}")
            return
        for index, table in enumerate(tables):
            if isinstance(table, dict):
                yield (name, index), table
            else:
                told = f"[[{name}]]: expected a section, got {describe(table)}"
                self._add((name, index), told)

    def _table(
        self,
        path: tuple[str | int, ...],
        title: str,
        table: Mapping[str, object],
        section: type[T],
        context: Context,
    ) -> T:
        settings = settings_of(section)
        for name in table:
            if name not in settings:
                self._add((*path, name), f"{title} {_shown(name)}: {_unknown(name, settings)}")
        values = {
            name: self._value((*path, name), title, table, setting, context)
            for name, setting in settings.items()
        }
        return section(**values)

    def _value(
        self,
        path: tuple[str | int, ...],
        title: str,
        table: Mapping[str, object],
        setting: Setting,
        context: Context,
    ) -> object:
        if setting.name in table:
            try:
                return setting.kind.read(table[setting.name], context)
            except ValueRefusedError as refused:
                self.refused.add(path)
                self._add(path, f"{title} {setting.name}: {refused}")
        elif setting.is_required:
            self.refused.add(path)
            self._add(path, f"{title} {setting.name}: is missing; {setting.kind.words}")
        return "" if setting.is_required else setting.kind.read(setting.default, context)

    def _add(self, path: Sequence[str | int], message: str) -> None:
        self.problems.append(Problem(self.document.find_line(*path), message))


def _unknown_section(name: str, value: object, known: Sequence[str]) -> str:
    owners = [s for s, section in SECTIONS.items() if name in settings_of(section)]
    if owners and not isinstance(value, dict):
        return f"belongs under [{owners[0]}]"
    kind = "section" if isinstance(value, dict | list) else "setting"
    near = get_close_matches(name, known, n=1)
    return f"no such {kind}; did you mean [{near[0]}]?" if near else f"no such {kind}"


def _unknown(name: str, settings: Mapping[str, Setting]) -> str:
    if near := get_close_matches(name, settings, n=1):
        return f"no such setting; did you mean {near[0]}?"
    for other, section in SECTIONS.items():
        if name in settings_of(section):
            return f"no such setting here; it belongs under [{other}]"
    return "no such setting"


def _shown(name: str) -> str:
    """Return a name from the file fit for one line of a message."""
    return name if name.isprintable() and name.isascii() and name else repr(name)
