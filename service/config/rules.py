"""What settings must not say together: pure rules, each a refusal that protects data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.config.addresses import Address, StorageUrl
from service.config.buckets import BucketUrl, find_residency_fault
from service.config.sections import Config, SourceConfig
from service.domain.urls import Origin, WebUrl
from service.sources.kinds import KINDS, Sender

SettingPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A broken rule: the setting to change, why, and the settings that it contradicts."""

    setting: SettingPath
    reason: str
    others: tuple[SettingPath, ...]


def find_contradictions(config: Config) -> Iterator[Contradiction]:
    """Yield every rule that ``config`` breaks. Symbolic links are followed; nothing is written."""
    yield from _web(config)
    yield from _places(config)
    yield from _bucket(config)
    yield from _escrow(config)
    yield from _token(config)
    yield from _backup(config)
    yield from _sources(config)
    yield from _anchors(config)
    yield from _disclosure(config)


def _web(config: Config) -> Iterator[Contradiction]:
    web = config.web
    if web.certificate and not web.certificate_key:
        yield _within("web", "certificate", "needs certificate_key as well", "certificate_key")
    if web.certificate_key and not web.certificate:
        yield _within("web", "certificate_key", "needs certificate as well", "certificate")
    if not (web.listen.is_loopback or web.is_tls or web.trusted_proxies):
        reason = (
            f"{web.listen} would speak plain HTTP to the network; give certificate and "
            "certificate_key, or name the trusted_proxies in front"
        )
        yield _within("web", "listen", reason, "certificate", "trusted_proxies")
    if web.session_idle_minutes > web.session_hours * 60:
        reason = "is longer than session_hours"
        yield _within("web", "session_idle_minutes", reason, "session_hours")


def _places(config: Config) -> Iterator[Contradiction]:
    archive, blobs = config.archive.directory, config.storage.blobs
    keys, anchor = config.keys.directory, config.log.anchor_directory
    for name, place in (("archive", archive), ("blobs", getattr(blobs, "path", None))):
        if place and _is_inside(keys, place):
            yield Contradiction(
                ("keys", "directory"),
                f"lies inside the {name} directory; whoever copied that could open it",
                (("archive", "directory"), ("storage", "blobs")),
            )
            break
    if anchor and _is_inside(anchor, archive):
        yield Contradiction(
            ("log", "anchor_directory"),
            "lies inside the archive directory; whoever changes the archive could change it too",
            (("archive", "directory"),),
        )


def _bucket(config: Config) -> Iterator[Contradiction]:
    storage = config.storage
    if not isinstance(storage.blobs, BucketUrl):
        for name in ("region", "endpoint", "country", "credentials_file", "filer"):
            if getattr(storage, name):
                yield _within("storage", name, "means nothing unless blobs is s3://…", "blobs")
    elif not storage.region:
        yield _within("storage", "blobs", "s3:// needs region as well", "region")
    elif fault := find_residency_fault(storage.endpoint, storage.region, storage.country):
        name, reason = fault
        yield _within("storage", name, reason, "blobs", "region", "endpoint", "country")


def _escrow(config: Config) -> Iterator[Contradiction]:
    keys = config.keys
    is_hybrid = keys.escrow_recipient.startswith("age1pq1")
    # One age file never mixes them: the weaker recipient would decide for both.
    if keys.escrow_recipient and is_hybrid != (keys.kind == "hybrid"):
        wanted = "age1pq1" if keys.kind == "hybrid" else "age1 and not age1pq1"
        reason = f'kind is "{keys.kind}", so the recipient has to begin with {wanted}'
        yield _within("keys", "escrow_recipient", reason, "kind")


def _token(config: Config) -> Iterator[Contradiction]:
    keys, is_token = config.keys, config.keys.provider == "pkcs11"
    for name in ("pkcs11_module", "pkcs11_token"):
        if is_token and not getattr(keys, name):
            yield _within("keys", "provider", f'"pkcs11" needs {name} as well', name)
    if is_token and keys.pkcs11_hold_seconds < 2 * keys.pkcs11_wait_seconds:
        reason = "is less than twice pkcs11_wait_seconds: a slow token would be taken for an absent one"
        yield _within("keys", "pkcs11_hold_seconds", reason, "pkcs11_wait_seconds")


def _backup(config: Config) -> Iterator[Contradiction]:
    backup, is_hybrid = config.backup, config.keys.kind == "hybrid"
    places = {"directory": backup.directory, "keys_directory": backup.keys_directory}
    missing = [name for name, place in places.items() if place is None]
    if len(missing) == 1:
        yield _within("backup", missing[0], "is needed with the other directory", *places)
    elif not missing:
        yield from _backup_places(config, {name: p for name, p in places.items() if p})
    if any(one.startswith("age1pq1") != is_hybrid for one in backup.recipients):
        wanted = "age1pq1" if is_hybrid else "age1 and not age1pq1"
        reason = (
            f'[keys] kind is "{config.keys.kind}", so each recipient has to begin with {wanted}'
        )
        yield Contradiction(("backup", "recipients"), reason, (("keys", "kind"),))


def _backup_places(config: Config, places: Mapping[str, Path]) -> Iterator[Contradiction]:
    """Keep backups away from what they are of, and the two kinds apart."""
    others = {
        ("archive", "directory"): config.archive.directory,
        ("keys", "directory"): config.keys.directory,
    }
    if isinstance(config.storage.blobs, StorageUrl):
        others["storage", "blobs"] = config.storage.blobs.path
    for name, place in places.items():
        for setting, other in others.items():
            if _is_inside(place, other) or _is_inside(other, place):
                section, key = setting
                reason = f"lies inside [{section}] {key}, or that inside it; whoever loses one loses both"
                yield Contradiction(("backup", name), reason, (setting,))
    one, two = places.values()
    if _is_inside(one, two) or _is_inside(two, one):
        reason = "lies inside the other directory of backups, or that inside it"
        yield _within("backup", "keys_directory", reason, "directory")


def _sources(config: Config) -> Iterator[Contradiction]:
    seen: set[str] = set()
    for index, source in enumerate(config.sources):
        at = ("sources", index)
        has_secret = source.secret_file or source.previous_secret_file
        if source.name in seen:
            yield Contradiction((*at, "name"), f'"{source.name}" is taken above', ())
        yield from _secret(at, source, has_url=config.web.public_url is not None)
        kind = KINDS.get(source.kind)
        if kind is not None and kind.sender is Sender.TOKEN and has_secret:
            reason = f'"{source.kind}" uses a token and no secret_file'
            yield Contradiction((*at, "kind"), reason, ())
        if kind is not None and kind.files is None and source.spool:
            reason = f'"{source.kind}" leaves no files'
            yield Contradiction((*at, "spool"), reason, ((*at, "kind"),))
        if source.spool and _is_inside(source.spool, config.archive.directory):
            reason = "lies inside the archive directory; what is there is the archive's own"
            yield Contradiction((*at, "spool"), reason, (("archive", "directory"),))
        seen.add(source.name)
        yield from _fetching(at, source)
        if source.signing_key_file and source.kind not in {"mailgun", "sendgrid"}:
            reason = 'is for sources of kind "mailgun" and "sendgrid"'
            yield Contradiction((*at, "signing_key_file"), reason, ((*at, "kind"),))
        yield from _topics(at, source)
        yield from _listing(at, source)
        yield from _mail(at, source)
        yield from _asterisk(at, source)
        yield from _mailboxes(at, source)
        yield from _vcon(at, source)


def _secret(
    at: tuple[str, int], source: SourceConfig, *, has_url: bool
) -> Iterator[Contradiction]:
    """See to it that what comes can be checked."""
    signing = {"standard-webhooks", "chatwoot", "whatsapp", "zendesk"}
    if source.kind in signing and not source.secret_file:
        reason = f'"{source.kind}" needs secret_file'
        yield Contradiction((*at, "kind"), reason, ((*at, "secret_file"),))
    if source.kind == "twilio" and not (source.secret_file and has_url):
        reason = '"twilio" needs secret_file, and [web] public_url, which its signatures are of'
        yield Contradiction((*at, "kind"), reason, ((*at, "secret_file"),))
    for name in ("verify_token_file", "graph"):
        if getattr(source, name) and source.kind != "whatsapp":
            yield Contradiction(
                (*at, name), 'is for sources of kind "whatsapp"', ((*at, "kind"),)
            )
    if source.graph:
        yield from _interface(at, source, "graph", WebUrl.parse(source.graph).origin)
    if source.secret_in_path and source.kind != "chatwoot":
        reason = 'is for sources of kind "chatwoot"'
        yield Contradiction((*at, "secret_in_path"), reason, ((*at, "kind"),))


def _listing(at: tuple[str, int], source: SourceConfig) -> Iterator[Contradiction]:
    """Keep a listing from being named that cannot be asked for, and settings from meaning nothing."""
    listing, origins = (*at, "listing"), (*at, "fetch_origins")
    if source.listing is None:
        if source.listing_token_file:
            token = (*at, "listing_token_file")
            yield Contradiction(token, "means nothing without listing", (listing,))
        if source.listing_account and source.kind != "chatwoot":
            account = (*at, "listing_account")
            yield Contradiction(account, 'is for sources of kind "chatwoot"', ((*at, "kind"),))
        return
    if source.kind != "chatwoot":
        yield Contradiction(listing, 'is for sources of kind "chatwoot"', ((*at, "kind"),))
    for name in ("listing_account", "listing_token_file"):
        if not getattr(source, name):
            yield Contradiction(listing, f"needs {name} as well", ((*at, name),))
    origin = WebUrl.parse(source.listing).origin
    if origin not in source.fetch_origins:
        yield Contradiction(listing, f"{origin} is none of fetch_origins", (origins,))


def _asterisk(at: tuple[str, int], source: SourceConfig) -> Iterator[Contradiction]:
    """Keep secrets and calls from being sent in the clear, or to where no rule lets them."""
    kind = (*at, "kind")
    for name in ("ami", "ari"):
        if getattr(source, name) and source.kind != "asterisk":
            yield Contradiction((*at, name), 'is for sources of kind "asterisk"', (kind,))
    if source.ami:
        yield from _manager(at, source, source.ami)
    else:
        for name in ("ami_user", "ami_secret_file", "ami_tls", "ami_certificate_authority"):
            if getattr(source, name):
                yield Contradiction((*at, name), "means nothing without ami", ((*at, "ami"),))
    if source.ari:
        yield from _interface(at, source, "ari", WebUrl.parse(source.ari).origin)


def _manager(
    at: tuple[str, int], source: SourceConfig, address: Address
) -> Iterator[Contradiction]:
    for name in ("ami_user", "ami_secret_file"):
        if not getattr(source, name):
            yield Contradiction((*at, "ami"), f"needs {name} as well", ((*at, name),))
    if source.ami_certificate_authority and not source.ami_tls:
        reason = "means nothing without ami_tls"
        yield Contradiction((*at, "ami_certificate_authority"), reason, ((*at, "ami_tls"),))
    if not (address.is_loopback or source.ami_tls):
        reason = f"{address} would tell of calls in the clear; another machine needs ami_tls"
        yield Contradiction((*at, "ami"), reason, ((*at, "ami_tls"),))


def _interface(
    at: tuple[str, int], source: SourceConfig, name: str, origin: Origin
) -> Iterator[Contradiction]:
    origins, credentials = (*at, "fetch_origins"), (*at, "fetch_credentials")
    if origin not in source.fetch_origins:
        yield Contradiction((*at, name), f"{origin} is none of fetch_origins", (origins,))
    elif all(one.origin != origin for one in source.fetch_credentials):
        reason = f"needs fetch_credentials for {origin}"
        yield Contradiction((*at, name), reason, (origins, credentials))


def _vcon(at: tuple[str, int], source: SourceConfig) -> Iterator[Contradiction]:
    """Keep a source from having to sign while nobody is trusted, and settings from meaning nothing."""
    if source.kind != "vcon" and (source.vcon_certificates or source.vcon_signed):
        name = "vcon_certificates" if source.vcon_certificates else "vcon_signed"
        yield Contradiction((*at, name), 'is for sources of kind "vcon"', ((*at, "kind"),))
    if source.vcon_signed and not source.vcon_certificates:
        reason = "needs vcon_certificates: without them nobody can tell who signed"
        yield Contradiction((*at, "vcon_signed"), reason, ((*at, "vcon_certificates"),))


def _topics(at: tuple[str, int], source: SourceConfig) -> Iterator[Contradiction]:
    """Keep a source from trusting every topic there is, and certificates from coming in the clear."""
    topics, origins = (*at, "topics"), (*at, "fetch_origins")
    if source.kind != "ses":
        if source.topics:
            yield Contradiction(topics, 'is for sources of kind "ses"', ((*at, "kind"),))
        return
    if not (source.topics and source.secret_file):
        reason = '"ses" needs topics and secret_file'
        yield Contradiction((*at, "kind"), reason, (topics, (*at, "secret_file")))
    if any(origin.scheme != "https" for origin in source.fetch_origins):
        yield Contradiction(origins, '"ses" takes certificates over https:// alone', ())


def _mail(at: tuple[str, int], source: SourceConfig) -> Iterator[Contradiction]:
    """Keep mail from being taken in the clear from another machine, and settings from meaning nothing."""
    listen, certificate = source.mail_listen, source.mail_certificate
    if listen is None:
        return
    if source.kind != "mail":
        yield Contradiction(
            (*at, "mail_listen"), 'is for sources of kind "mail"', ((*at, "kind"),)
        )
    if not listen.is_loopback and not certificate:
        reason = "other machines than this one need mail_certificate and mail_certificate_key"
        yield Contradiction((*at, "mail_listen"), reason, ((*at, "mail_certificate"),))
    if (certificate is None) != (source.mail_certificate_key is None):
        reason = "mail_certificate and mail_certificate_key belong together"
        yield Contradiction((*at, "mail_certificate"), reason, ())


def _mailboxes(at: tuple[str, int], source: SourceConfig) -> Iterator[Contradiction]:
    """Keep a mailbox from being named that cannot be read, and settings from meaning nothing."""
    needed = {
        "imap_user": source.imap_user,
        "imap_password_file": source.imap_password_file,
        "imap_mailboxes": source.imap_mailboxes,
    }
    server = (*at, "imap_server")
    if source.imap_server is not None and source.kind != "mail":
        yield Contradiction(server, 'is for sources of kind "mail"', ((*at, "kind"),))
    for name, value in needed.items():
        if source.imap_server is not None and not value:
            yield Contradiction(server, f"needs {name} as well", ((*at, name),))
    others = ("imap_user", "imap_password_file", "imap_since", "imap_certificate_authority")
    for name in others:
        if source.imap_server is None and getattr(source, name):
            yield Contradiction((*at, name), "means nothing without imap_server", (server,))


def _fetching(at: tuple[str, int], source: SourceConfig) -> Iterator[Contradiction]:
    """Keep settings from being written that do nothing, or send credentials nowhere."""
    origins = (*at, "fetch_origins")
    for credentials in source.fetch_credentials:
        if credentials.origin not in source.fetch_origins:
            reason = f"{credentials.origin} is none of fetch_origins"
            yield Contradiction((*at, "fetch_credentials"), reason, (origins,))
    others = {
        "fetch_networks": source.fetch_networks,
        "fetch_content_keys": source.fetch_content_keys,
        "fetch_certificate_authority": source.fetch_certificate_authority,
    }
    for name, value in others.items():
        if value and not source.fetch_origins:
            reason = "means nothing without fetch_origins"
            yield Contradiction((*at, name), reason, (origins,))


def _disclosure(config: Config) -> Iterator[Contradiction]:
    disclosure = config.disclosure
    if disclosure.certificate and not disclosure.certificate_key:
        yield _within(
            "disclosure", "certificate", "needs certificate_key as well", "certificate_key"
        )
    if disclosure.certificate_key and not disclosure.certificate:
        yield _within(
            "disclosure", "certificate_key", "needs certificate as well", "certificate"
        )


def _anchors(config: Config) -> Iterator[Contradiction]:
    log = config.log
    if log.timestamp_url and not log.timestamp_certificates:
        yield _within(
            "log", "timestamp_url", "needs timestamp_certificates", "timestamp_certificates"
        )
    seen: set[str] = set()
    for index, witness in enumerate(config.witnesses):
        at = ("witnesses", index)
        if witness.key.name in seen:
            yield Contradiction((*at, "key"), f'"{witness.key.name}" is named above', ())
        if not witness.url:
            yield Contradiction((*at, "url"), "is empty", ())
        seen.add(witness.key.name)


def _within(section: str, name: str, reason: str, *others: str) -> Contradiction:
    paths = tuple((section, other) for other in others)
    return Contradiction((section, name), reason, paths)


def _is_inside(path: Path, directory: Path) -> bool:
    return path.resolve().is_relative_to(directory.resolve())
