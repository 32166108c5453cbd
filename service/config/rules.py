"""What settings must not say together: pure rules, each a refusal that protects data."""

from collections.abc import Iterator
from pathlib import Path

from service.config.sections import Config

Contradiction = tuple[tuple[str | int, ...], str]
"""The path of the setting to change, and why."""


def find_contradictions(config: Config) -> Iterator[Contradiction]:
    """Yield every rule that ``config`` breaks. Symbolic links are followed; nothing is written."""
    yield from _web(config)
    yield from _places(config)
    yield from _escrow(config)
    yield from _sources(config)


def _web(config: Config) -> Iterator[Contradiction]:
    web = config.web
    if web.certificate and not web.certificate_key:
        yield ("web", "certificate"), "[web] certificate: needs certificate_key as well"
    if web.certificate_key and not web.certificate:
        yield ("web", "certificate_key"), "[web] certificate_key: needs certificate as well"
    if not (web.listen.is_loopback or web.is_tls or web.trusted_proxies):
        yield (
            ("web", "listen"),
            (
                f"[web] listen: {web.listen} would speak plain HTTP to the network; give "
                "certificate and certificate_key, or name the trusted_proxies in front"
            ),
        )
    if web.session_idle_minutes > web.session_hours * 60:
        yield (
            ("web", "session_idle_minutes"),
            "[web] session_idle_minutes: is longer than session_hours",
        )


def _places(config: Config) -> Iterator[Contradiction]:
    archive, blobs = config.archive.directory, config.storage.blobs.path
    for place, title in ((archive, "the archive directory"), (blobs, "the blobs directory")):
        if _is_inside(config.keys.directory, place):
            yield (
                ("keys", "directory"),
                f"[keys] directory: lies inside {title}; whoever copied that could open it",
            )
            break
    anchor = config.log.anchor_directory
    if anchor and _is_inside(anchor, archive):
        yield (
            ("log", "anchor_directory"),
            (
                "[log] anchor_directory: lies inside the archive directory; "
                "whoever changes the archive could change it too"
            ),
        )


def _escrow(config: Config) -> Iterator[Contradiction]:
    keys = config.keys
    is_hybrid = keys.escrow_recipient.startswith("age1pq1")
    # One age file never mixes them: the weaker recipient would decide for both.
    if keys.escrow_recipient and is_hybrid != (keys.kind == "hybrid"):
        wanted = "age1pq1" if keys.kind == "hybrid" else "age1 and not age1pq1"
        yield (
            ("keys", "escrow_recipient"),
            (
                f'[keys] escrow_recipient: kind is "{keys.kind}", so the recipient has to begin '
                f"with {wanted}"
            ),
        )


def _sources(config: Config) -> Iterator[Contradiction]:
    seen: set[str] = set()
    for index, source in enumerate(config.sources):
        path = ("sources", index)
        if source.name in seen:
            yield (*path, "name"), f'[[sources]] name: "{source.name}" is taken above'
        seen.add(source.name)
        if source.kind == "standard-webhooks" and not source.secret_file:
            yield (*path, "kind"), '[[sources]] kind: "standard-webhooks" needs secret_file'
        if source.kind == "api" and (source.secret_file or source.previous_secret_file):
            yield (*path, "kind"), '[[sources]] kind: "api" uses a token and no secret_file'
        if source.previous_secret_file and not source.secret_file:
            yield (
                (*path, "previous_secret_file"),
                "[[sources]] previous_secret_file: needs secret_file as well",
            )


def _is_inside(path: Path, directory: Path) -> bool:
    return path.resolve().is_relative_to(directory.resolve())
