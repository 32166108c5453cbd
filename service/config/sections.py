"""Every setting of the service: its type, its default and its meaning.

One frozen dataclass per section of the file. The meaning is kept with the field, so that
``config.toml`` is made from here and a test finds a setting that is missing from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from service.config import addresses, buckets, databases, fetching, mail, notices, values
from service.config.addresses import Address, Network, StorageUrl
from service.config.buckets import BucketUrl
from service.config.databases import PostgresUrl
from service.config.fetching import OriginCredentials
from service.config.setting import setting
from service.domain.identifiers import PhoneNumber
from service.domain.notice import Traffic
from service.domain.urls import Origin
from service.log.note import VerifierKey
from service.sources.kinds import KINDS
from service.sources.vcon.rule import MAX_BYTES as VCON_BYTES


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Where the service listens, and how browsers and machines reach it."""

    listen: Address = setting(
        addresses.ADDRESS,
        "Address and port to listen on. Port 0 takes a free one. Anything but this machine's own "
        "loopback needs a certificate or trusted_proxies.",
        default="127.0.0.1:8080",
    )
    public_url: str | None = setting(
        addresses.PUBLIC_URL,
        "What people and machines type to get here, without a path. Links and the signatures of "
        "some sources are made with it. Empty: the address above.",
        default="",
    )
    certificate: Path | None = setting(
        values.OPTIONAL_PATH,
        "TLS certificate chain, a PEM file. Empty: plain HTTP.",
        default="",
    )
    certificate_key: Path | None = setting(
        values.SECRET_FILE,
        "Private key of the certificate, a PEM file.",
        default="",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        addresses.NETWORKS,
        "Addresses or networks of the proxies in front, e.g. 10.0.0.5 or 10.0.0.0/24. Only their "
        "X-Forwarded headers are believed.",
        default=[],
    )
    session_idle_minutes: int = setting(
        values.whole_number(1, 24 * 60),
        "A session without activity ends after this long.",
        default=30,
    )
    session_hours: int = setting(
        values.whole_number(1, 7 * 24),
        "A session ends after this long in any case.",
        default=12,
    )
    shutdown_seconds: int = setting(
        values.whole_number(0, 3600),
        "When told to stop, the service takes nothing new and gives what has begun, such as a long "
        "upload, this much time to end.",
        default=30,
    )

    @property
    def is_tls(self) -> bool:
        """The service itself speaks HTTPS."""
        return self.certificate is not None


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """The archive itself."""

    directory: Path = setting(
        values.PATH,
        "Where data is kept: databases, log, blobs, ledger. Back it up; the keys are elsewhere.",
        default="data",
    )
    name: str = setting(
        values.text(
            "a name of letters, digits, dots, hyphens and slashes",
            r"[A-Za-z0-9][A-Za-z0-9./-]{0,99}",
        ),
        "Name of this archive, best a domain name of yours such as archive.example.org. It is "
        "the origin in every checkpoint of the log: choose it before the first start, never "
        "change it after.",
        default="taltio",
    )
    timezone: ZoneInfo = setting(
        values.TIMEZONE,
        "Dates without a time zone are read in this one, and times are shown in it.",
        default="Europe/Helsinki",
    )
    default_region: str = setting(
        values.REGION,
        "Telephone numbers without a country code belong to this country.",
        default="FI",
    )
    languages: tuple[str, ...] = setting(
        values.LANGUAGE_LIST,
        "Languages that the pages offer. The first is used when a browser asks for none of them.",
        default=["fi", "sv", "en"],
    )


@dataclass(frozen=True, slots=True)
class KeysConfig:
    """The keys that open what is stored. Losing them is losing the archive."""

    directory: Path = setting(
        values.PATH,
        "Where the key provider keeps its files. Never inside the archive directory, and never "
        "in the same backup.",
        default="keys",
    )
    provider: str = setting(
        values.choice("file", "pkcs11"),
        'What holds the keys: "file", files that only the service\'s account can read; or "pkcs11", '
        "files that only a key in a hardware token opens (docs/operations.md).",
        default="file",
    )
    pkcs11_module: Path | None = setting(
        values.OPTIONAL_PATH,
        "The PKCS#11 library of the token's vendor, a .so file. It is loaded in a process of its "
        "own, and sees the PIN and the keys.",
        default="",
    )
    pkcs11_token: str = setting(
        values.text("a token's label of at most 32 characters", r"[\x20-\x7e]{0,32}"),
        "The label of the token, as its own tools show it; slots change their numbers.",
        default="",
    )
    pkcs11_key: str = setting(
        values.text("a key's label of at most 64 characters", r"[\x20-\x7e]{1,64}"),
        "The label of the AES key on the token that wraps the archive's keys. `taltio keys init` "
        "makes it.",
        default="taltio",
    )
    pkcs11_pin_file: Path | None = setting(
        values.SECRET_FILE,
        "A file with the token's PIN, mode 0400. Empty: from the environment, TALTIO_PKCS11_PIN.",
        default="",
    )
    pkcs11_hold_seconds: int = setting(
        values.whole_number(10, 600),
        "For how long opened keys are kept in memory: once the token is away for this long, nothing "
        "is opened until it is back.",
        default=60,
    )
    pkcs11_wait_seconds: int = setting(
        values.whole_number(1, 60),
        "How long the token may take for one answer. One that takes longer counts as away.",
        default=10,
    )
    kind: str = setting(
        values.choice("x25519", "hybrid"),
        'Kind of key for new epochs: "x25519", which every age program opens, or "hybrid", which '
        "also withstands quantum computers (ML-KEM-768 with X25519).",
        default="x25519",
    )
    escrow_recipient: str = setting(
        values.RECIPIENT,
        "An age recipient whose secret key lies offline, in a safe. Every new epoch is sealed to "
        "it as well, so that losing the keys directory is not losing the archive. Of the same kind.",
        default="",
    )


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where sealed bytes are stored, if not in the archive directory."""

    database: StorageUrl | PostgresUrl = setting(
        databases.DATABASE,
        "sqlite:///absolute/path, or sqlite:path relative to this file, for one machine; "
        "postgresql://user@host/database for many (docs/operations.md). Empty: taltio.db in the "
        "archive directory.",
        default="",
    )
    keys: StorageUrl | PostgresUrl | None = setting(
        databases.KEY_STORE,
        "Where wrapped keys and headers are kept, apart from what they open: a URL as above, best "
        "of a server whose backups are kept for a short time only. Empty: keys.db in the archive "
        "directory or, where the database is PostgreSQL, a schema of its own there.",
        default="",
    )
    blobs: StorageUrl | BucketUrl = setting(
        buckets.BLOBS,
        "file:///absolute/path, file:path relative to this file, or s3://bucket/prefix for an "
        "object store. Empty: blobs in the archive directory.",
        default="",
    )
    region: str = setting(
        values.text("a region such as eu-north-1", r"[a-z0-9][a-z0-9-]{0,62}|"),
        "The bucket's region, as the object store calls it. Amazon's have to be in the European "
        "Economic Area.",
        default="",
    )
    endpoint: str = setting(
        buckets.ENDPOINT,
        "Where the object store answers. Empty: Amazon's S3 in the region.",
        default="",
    )
    country: str = setting(
        values.text("a country as two capital letters such as FI", r"[A-Z]{2}|"),
        "In which country the machines behind an endpoint that is not Amazon's stand. It has to be "
        "in the European Economic Area.",
        default="",
    )
    credentials_file: Path | None = setting(
        values.SECRET_FILE,
        "The object store's credentials, in a file as the AWS tools write it, section [default]. "
        "Empty: from the environment, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        default="",
    )
    filer: str | None = setting(
        buckets.FILER,
        "A SeaweedFS filer's HTTP address, so that /readyz can tell whether its path rules make it "
        "sync. Empty: it is not asked.",
        default="",
    )


@dataclass(frozen=True, slots=True)
class IntakeConfig:
    """What is taken in from phone systems and other sources."""

    max_delivery_bytes: int = setting(
        values.whole_number(1024, 64 * 1024**2),
        "A larger delivery is refused with 413.",
        default=1024**2,
    )
    max_recording_bytes: int = setting(
        values.whole_number(1024**2, 1024**4),
        "A larger recording is refused with 413.",
        default=4 * 1024**3,
    )
    keep_deliveries_days: int = setting(
        values.whole_number(1, 3650),
        "Deliveries as received are erased after this long, also when their contact is kept.",
        default=30,
    )
    tolerance_seconds: int = setting(
        values.whole_number(1, 24 * 3600),
        "A signed delivery whose time is further from ours than this needs attention.",
        default=300,
    )
    session_key_seconds: int = setting(
        values.whole_number(1, 600),
        "The key that seals deliveries is forgotten and made anew after this long.",
        default=600,
    )
    expected_grace_minutes: int = setting(
        values.whole_number(1, 30 * 24 * 60),
        "An expected recording that has not come this long after its contact ended is shown as lost.",
        default=60,
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The log that proves what happened."""

    checkpoint_seconds: int = setting(
        values.whole_number(1, 60),
        "A checkpoint is signed this often while there is something new.",
        default=5,
    )
    anchor_directory: Path | None = setting(
        values.OPTIONAL_PATH,
        "Each checkpoint is also written here, into a folder for each day: a directory, best on "
        "another machine, that whoever can change the archive cannot change. Empty: none. Without "
        "this, [[witnesses]] and timestamp_url nothing is shown as anchored.",
        default="",
    )
    timestamp_url: str | None = setting(
        addresses.SERVICE_URL,
        "Address of a timestamp authority (RFC 3161), which is sent nothing but hashes of "
        "checkpoints. Empty: none.",
        default="",
    )
    timestamp_certificates: Path | None = setting(
        values.OPTIONAL_PATH,
        "The certificates that its timestamps must lead to, a PEM file: the root of the "
        "authority, and what is between that and its own if it does not send it.",
        default="",
    )
    timestamp_policy: str = setting(
        values.OBJECT_IDENTIFIER,
        "The only policy under which its timestamps are accepted, such as 1.3.6.1.4.1.99999.1. "
        "Empty: any.",
        default="",
    )
    timestamp_minutes: int = setting(
        values.whole_number(1, 7 * 24 * 60),
        "A timestamp is asked for this often while there is something new.",
        default=60,
    )


@dataclass(frozen=True, slots=True)
class JournalConfig:
    """What the running service tells its operator, on standard error: event names and ids, never contents."""

    format: str = setting(
        values.choice("text", "json"),
        '"text" for people, "json" for programs: one object a line, with time, level and event.',
        default="text",
    )
    level: str = setting(
        values.choice("info", "warning", "error"),
        "What is less than this is not written.",
        default="warning",
    )


@dataclass(frozen=True, slots=True)
class BackupConfig:
    """Backups, which the running service makes by itself every day."""

    directory: Path | None = setting(
        values.OPTIONAL_PATH,
        "Where backups of the archive go: a directory that exists, best on another machine. Empty: "
        "none are made.",
        default="",
    )
    keys_directory: Path | None = setting(
        values.OPTIONAL_PATH,
        "Where backups of the key store go: a directory that exists, apart from the one above, "
        "because old copies bring back what was erased.",
        default="",
    )
    recipients: tuple[str, ...] = setting(
        values.RECIPIENTS,
        "Age recipients that can open backups too, of the same kind as [keys] kind. The current "
        "epoch and the escrow recipient can in any case.",
        default=[],
    )
    hour: int = setting(
        values.whole_number(0, 23),
        "A backup is made after this hour of each day, in [archive] timezone.",
        default=2,
    )
    keep_days: int = setting(
        values.whole_number(1, 3650),
        "Backups of the archive are kept this long. They hold no key.",
        default=35,
    )
    keep_keys_days: int = setting(
        values.whole_number(1, 30),
        "Backups of the key store are kept this long: so long can what is erased be brought back "
        "by whoever has the keys directory too.",
        default=14,
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What one sender may cost the others: slow clients, storms, guessing.

    Each process counts for itself. Trusted proxies are not counted: those for whom they ask are.
    """

    lockout_failures: int = setting(
        values.whole_number(1, 1000),
        "An account is locked after this many failed sign-ins in a row.",
        default=10,
    )
    lockout_minutes: int = setting(
        values.whole_number(1, 24 * 60),
        "A locked account stays locked this long.",
        default=15,
    )
    head_seconds: int = setting(
        values.whole_number(1, 300),
        "The head of a request has to be whole within this time, or the connection is closed.",
        default=10,
    )
    body_seconds: int = setting(
        values.whole_number(1, 600),
        "A body has to bring 16 KiB, or its end, in each such time, or the connection is closed.",
        default=60,
    )
    connections_per_address: int = setting(
        values.whole_number(1, 100_000),
        "Connections at once from one address, or one IPv6 network of 64 bits; more are turned away.",
        default=256,
    )
    requests_per_address: int = setting(
        values.whole_number(0, 1_000_000),
        "Requests a second from one address, ten seconds' worth of them at once; more are answered "
        "429 with Retry-After. 0: without limit.",
        default=500,
    )
    requests_per_sender: int = setting(
        values.whole_number(0, 1_000_000),
        "The same for one token, one person or one source that signs, wherever they are.",
        default=500,
    )
    deliveries_at_once: int = setting(
        values.whole_number(1, 100_000),
        "Deliveries that are being written at the same time; more are answered 503 with Retry-After, "
        "and nothing of them is kept.",
        default=512,
    )
    uploads_at_once: int = setting(
        values.whole_number(1, 100_000),
        "Recordings that are being taken in at the same time; likewise.",
        default=128,
    )


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """What people show and promise before they are in."""

    second_factor: str = setting(
        values.choice("required", "offered"),
        "A one-time password by time (RFC 6238) besides the password: required of everybody, who "
        "set it up at their next sign-in, or offered on the page of one's own account.",
        default="required",
    )
    undertaking_version: str = setting(
        values.text("a name of at most 64 characters", r"[\x20-\x7e]{0,64}"),
        "Everybody gives the confidentiality undertaking of this version before they see anything; "
        "with another version they are asked again. Empty: nobody is asked.",
        default="1",
    )
    undertaking_directory: Path | None = setting(
        values.OPTIONAL_PATH,
        "Directory with the text of the undertaking in fi.txt, sv.txt and en.txt, paragraphs "
        "divided by empty lines. Empty: a text that Taltio brings along.",
        default="",
    )
    recertify_days: int = setting(
        values.whole_number(0, 366),
        "Whoever nobody confirmed for so many days (taltio users confirm) is out. 0: nobody is asked.",
        default=183,
    )


@dataclass(frozen=True, slots=True)
class GrantsConfig:
    """Permission to open contents, for a purpose and a time."""

    hours: int = setting(
        values.whole_number(1, 7 * 24),
        "A grant expires after this long.",
        default=8,
    )


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """Limits of the child process that reads recordings; no recording is worth more than these."""

    cpu_seconds: int = setting(
        values.whole_number(1, 24 * 3600),
        "Processor time for one recording.",
        default=600,
    )
    memory_mebibytes: int = setting(
        values.whole_number(256, 1024**2),
        "Address space of the child process.",
        default=1024,
    )
    wall_seconds: int = setting(
        values.whole_number(1, 48 * 3600),
        "Time on the clock for one recording.",
        default=1800,
    )


@dataclass(frozen=True, slots=True)
class NoticeConfig:
    """The notice: what people were told of before they are recorded. Sources go live by it."""

    covers: tuple[Traffic, ...] = setting(
        notices.TRAFFIC,
        'What the notice speaks of: channel (call, email, chat) and direction, such as ["call inbound", "email '
        'inbound"]. A source that carries anything else does not go live.',
        default=[],
    )
    version: str = setting(
        values.text("a name of at most 64 characters", r"[\x20-\x7e]{0,64}"),
        'What the notice that holds is called, such as "2026-10". It is recorded when a source goes live.',
        default="",
    )
    valid_from: date | None = setting(
        notices.DAY,
        "The first day of that notice, such as 2026-10-01, in [archive] timezone. Empty: it holds already.",
        default="",
    )


@dataclass(frozen=True, slots=True)
class DisclosureConfig:
    """Contacts that are handed out (taltio contacts export)."""

    certificate: Path | None = setting(
        values.OPTIONAL_PATH,
        "The certificate with which vCons are signed that are handed out, and those between it and its root: a PEM "
        "file, its own first. Empty: they are not signed.",
        default="",
    )
    certificate_key: Path | None = setting(
        values.OPTIONAL_PATH,
        "Its private key, a PEM file, mode 0400: RSA of 2048 bits or more, or P-256.",
        default="",
    )


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """A system that sends contacts. One [[sources]] for each."""

    name: str = setting(
        values.text("a name of small letters, digits, - and _", r"[a-z0-9][a-z0-9_-]{0,62}"),
        "Name of the source, part of its addresses: /intake/NAME. Never change it: contacts are "
        "known by it.",
    )
    kind: str = setting(
        values.choice(*KINDS),
        '"standard-webhooks": signed deliveries to /intake/NAME (standardwebhooks.com). '
        '"api": contacts through /api/v1 with a token bound to this source.',
    )
    secret_file: Path | None = setting(
        values.SECRET_FILE,
        "File with the secret that deliveries are signed with, or that is sent with them: for "
        '"standard-webhooks" (whsec_…); for "twilio" the auth token, or ID:SECRET of a SharedKey; for "chatwoot" and '
        '"zendesk" that of the webhook, for "whatsapp" the app secret; for other kinds 32 to 128 letters, digits, - '
        "and _.",
        default="",
    )
    signing_key_file: Path | None = setting(
        values.SECRET_FILE,
        'File with the webhook signing key of a source of kind "mailgun", or the public key (base64) that "sendgrid" '
        "shows: one line, mode 0400. What is posted then has to be signed with it, beside the secret in its address.",
        default="",
    )
    topics: tuple[str, ...] = setting(
        mail.TOPICS,
        "The topics of Amazon SNS, such as arn:aws:sns:eu-north-1:123456789012:mails, that a source of kind "
        '"ses" takes mails from; subscriptions to no others are confirmed. Certificates are fetched from '
        "sns.REGION.amazonaws.com of their regions, or from fetch_origins where that names any.",
        default=[],
    )
    verify_token_file: Path | None = setting(
        values.SECRET_FILE,
        'File with the verify token of a source of kind "whatsapp", which Meta sends when the address is set there: 32 '
        "to 128 letters, digits, - and _; mode 0400. Empty: the address cannot be set.",
        default="",
    )
    graph: str | None = setting(
        addresses.INTERFACE_URL,
        'Where the Graph API of a source of kind "whatsapp" is, with its version, e.g. '
        "https://graph.facebook.com/v23.0: files of messages are fetched there. Its origin has to be one of "
        "fetch_origins, with fetch_credentials. Empty: files are not fetched.",
        default="",
    )
    listing: str | None = setting(
        addresses.INTERFACE_URL,
        'Where a source of kind "chatwoot" is asked every hour for its conversations, e.g. https://chat.example.com: '
        "what no webhook brought is kept, and each day is compared. Its origin has to be one of fetch_origins. Empty: "
        "it is not asked.",
        default="",
    )
    listing_account: int = setting(
        values.whole_number(0, 2**31 - 1),
        "The number of the account there, as in the addresses of its pages: /app/accounts/NUMBER. What a webhook tells "
        "of another account is not understood. 0: whichever it is.",
        default=0,
    )
    listing_token_file: Path | None = setting(
        values.SECRET_FILE,
        "File with the access token of a user there who sees every inbox, one line, mode 0400.",
        default="",
    )
    secret_in_path: bool = setting(
        values.BOOLEAN,
        'For "chatwoot" before 4, which signs nothing: the secret is sent in the path instead, /intake/NAME/k/SECRET, '
        "and is then 32 to 128 letters, digits, - and _.",
        default=False,
    )
    previous_secret_file: Path | None = setting(
        values.SECRET_FILE,
        "File with the secret before, still accepted while the sender changes over.",
        default="",
    )
    grace_minutes: int = setting(
        values.INHERITED_MINUTES,
        "As [intake] expected_grace_minutes, for this source. 0: as there.",
        default=0,
    )
    country: str = setting(
        values.INHERITED_REGION,
        "As [archive] default_region, for this source. Empty: as there.",
        default="",
    )
    timezone: ZoneInfo | None = setting(
        values.INHERITED_TIMEZONE,
        "As [archive] timezone, for times of this source that do not tell theirs. Empty: as there.",
        default="",
    )
    cdr_columns: tuple[str, ...] = setting(
        values.CDR_COLUMNS,
        'The columns of the CSV of a source of kind "asterisk", where cdr_custom writes its own, e.g. '
        '["clid", "src", "dst", "start_epoch", "-", "uniqueid", "linkedid"]; "-" is passed over. '
        "Empty: those of cdr_csv.",
        default=[],
    )
    genesys_names: tuple[tuple[str, str], ...] = setting(
        values.GENESYS_NAMES,
        'What the metadata of a source of kind "genesys" call otherwise than usual, e.g. '
        '["caller = callerNumber", "dialled = calledNumber"]. Empty: the usual names.',
        default=[],
    )
    spool: Path | None = setting(
        values.OPTIONAL_PATH,
        "A directory in which this source leaves files, looked into every minute: what has not changed since "
        'the last look is kept and moved to its folder "taken". For "freeswitch": err-log-dir, and where '
        'recordings are that could not be sent; for "rtpengine": its recording-dir; for "genesys": '
        "where its exports are moved to. Empty: none.",
        default="",
    )
    carries: tuple[Traffic, ...] = setting(
        notices.TRAFFIC,
        'What this source carries, such as ["call inbound", "call outbound"]: the notice has to cover it. Empty: '
        "what its kind usually does.",
        default=[],
    )
    company_numbers: tuple[PhoneNumber, ...] = setting(
        values.PHONE_NUMBERS,
        "Your own numbers. They are in every call and so are not indexed and find nobody.",
        default=[],
    )
    company_addresses: tuple[str, ...] = setting(
        values.COMPANY_ADDRESSES,
        "Your own e-mail addresses, and your domains as @example.com: mail from them goes out, and "
        "whoever else is in it is the customer.",
        default=[],
    )
    fetch_origins: tuple[Origin, ...] = setting(
        fetching.ORIGINS,
        "Where recordings may be fetched from that this source announces by URL, also after a "
        "redirect. Plain http:// only where it is written so. Empty: nothing is fetched.",
        default=[],
    )
    fetch_networks: tuple[Network, ...] = setting(
        fetching.NETWORKS,
        "Networks that are not public and may be connected to all the same, e.g. 10.0.0.0/8 for a "
        "phone system there. Link-local addresses, where clouds keep credentials, never are.",
        default=[],
    )
    fetch_credentials: tuple[OriginCredentials, ...] = setting(
        fetching.CREDENTIALS,
        'For each origin that asks who we are, "https://pbx.example:8443 secrets/pbx": a file, mode '
        '0400 or 0600, with one line, "Basic user:password" or "Bearer token". Sent to that origin '
        "alone.",
        default=[],
    )
    fetch_content_keys: Path | None = setting(
        values.OPTIONAL_PATH,
        "Directory of the private keys for which the source encrypts its recordings: RSA, PEM, each in a "
        "file of its own called ID.pem (mode 0400). Empty: it encrypts none.",
        default="",
    )
    fetch_certificate_authority: Path | None = setting(
        values.OPTIONAL_PATH,
        "The certificate that those of the origins must lead to, a PEM file. Empty: as the system "
        "trusts.",
        default="",
    )
    fetch_max_bytes: int = setting(
        values.whole_number(1024, 1024**4),
        "A larger recording is not fetched; nor is one larger than [intake] max_recording_bytes.",
        default=1024**3,
    )
    fetch_bytes_per_second: int = setting(
        values.whole_number(1, 1024**3),
        "An answer that comes slower than this, for half a minute, is given up and tried again.",
        default=8192,
    )
    fetch_minutes: int = setting(
        values.whole_number(1, fetching.MAX_FETCH_MINUTES),
        "An answer that takes longer than this is given up likewise.",
        default=60,
    )
    ami: Address | None = setting(
        addresses.OPTIONAL_ADDRESS,
        'Address and port of the manager interface of a source of kind "asterisk", e.g. '
        "127.0.0.1:5038, which is asked for call detail records as calls end. Empty: it is not asked.",
        default="",
    )
    ami_user: str = setting(
        values.text("a name of letters, digits and -_.@", r"[A-Za-z0-9_.@-]{0,80}"),
        "The user of manager.conf as whom the archive logs in there; it needs no more than read = cdr.",
        default="",
    )
    ami_secret_file: Path | None = setting(
        values.SECRET_FILE,
        "File with that user's secret, one line, mode 0400.",
        default="",
    )
    ami_tls: bool = setting(
        values.BOOLEAN,
        "Whether TLS is spoken there (tlsenable, port 5039), as it has to be to any other machine.",
        default=False,
    )
    ami_certificate_authority: Path | None = setting(
        values.OPTIONAL_PATH,
        "The certificate that its certificate must lead to, a PEM file. Empty: as the system trusts.",
        default="",
    )
    ari: str | None = setting(
        addresses.INTERFACE_URL,
        'Where the REST interface of a source of kind "asterisk" is, e.g. '
        "https://pbx.example:8089/ari, which tells of recordings and of calls in applications. Its "
        "origin has to be one of fetch_origins, with fetch_credentials. Empty: it is not asked.",
        default="",
    )
    ari_app: str = setting(
        values.text("a name of letters, digits, - and _", r"[A-Za-z0-9_-]{1,64}"),
        "What the archive calls itself there; of the same name there must be no other application.",
        default="taltio",
    )

    mail_listen: Address | None = setting(
        addresses.OPTIONAL_ADDRESS,
        'Address and port at which a source of kind "mail" takes mail in, e.g. 127.0.0.1:8024. Empty: none.',
        default="",
    )
    mail_protocol: str = setting(
        values.choice("lmtp", "smtp"),
        "What is spoken there.",
        default="lmtp",
    )
    mail_peers: tuple[Network, ...] = setting(
        addresses.NETWORKS,
        "Addresses or networks of the mail servers that may deliver there; all others are turned away.",
        default=["127.0.0.0/8", "::1/128"],
    )
    mail_recipients: tuple[str, ...] = setting(
        mail.RECIPIENTS,
        "The addresses that are taken there, e.g. archive@example.fi or @archive.example.fi. Empty: any.",
        default=[],
    )
    mail_max_bytes: int = setting(
        values.whole_number(1, 2**40),
        "A larger message is refused for good; one in a mailbox is not taken, and needs attention.",
        default=50 * 1024**2,
    )
    mail_certificate: Path | None = setting(
        values.OPTIONAL_PATH,
        "Certificate for STARTTLS (PEM), needed where mail comes from other machines; then nothing is "
        "taken without TLS.",
        default="",
    )
    mail_certificate_key: Path | None = setting(
        values.OPTIONAL_PATH, "Its private key (PEM).", default=""
    )
    imap_server: Address | None = setting(
        addresses.OPTIONAL_ADDRESS,
        'Host and port of the IMAP server whose mailboxes a source of kind "mail" reads, e.g. mail.example.fi:993. '
        "TLS is spoken there from the first byte. Empty: none.",
        default="",
    )
    imap_user: str = setting(
        values.text("a name without spaces at its ends", r"(\S(.*\S)?)?"),
        "Who signs in there. It needs to read the mailboxes and nothing else.",
        default="",
    )
    imap_password_file: Path | None = setting(
        values.SECRET_FILE, "File with its password, one line, mode 0400.", default=""
    )
    imap_mailboxes: tuple[str, ...] = setting(
        mail.MAILBOXES,
        "Which of its mailboxes are read. Nothing in them is changed.",
        default=["INBOX"],
    )
    imap_since: date | None = setting(
        mail.DAY,
        "What came to them before this day is left alone, e.g. 2026-11-22. Empty: everything is taken.",
        default="",
    )
    imap_certificate_authority: Path | None = setting(
        values.OPTIONAL_PATH,
        "The certificate that the server's must lead to, a PEM file. Empty: as the system trusts.",
        default="",
    )
    vcon_max_bytes: int = setting(
        values.whole_number(1024, 512 * 1024**2),
        'A larger vCon of a source of kind "vcon" is refused with 413; one that is packed, and unpacks to more, is '
        "kept and needs attention. One is in memory at a time, several times over.",
        default=VCON_BYTES,
    )
    vcon_certificates: Path | None = setting(
        values.OPTIONAL_PATH,
        "Who may sign its vCons: a PEM file of certificates to which theirs must lead, or of public keys. A vCon that "
        "is signed by anybody else is kept and not believed. Empty: signatures are not checked against anybody.",
        default="",
    )
    vcon_signed: bool = setting(
        values.BOOLEAN,
        "Whether its vCons have to be signed, by one of vcon_certificates.",
        default=False,
    )
    vcon_direction: str = setting(
        values.choice("inbound", "outbound"),
        "Which way its contacts go where neither their parties nor company_numbers and company_addresses tell.",
        default="inbound",
    )
    mail_checks: bool = setting(
        values.BOOLEAN,
        "Whether the signatures of mails (DKIM, ARC) and their servers (SPF) are checked when they come, and the keys "
        "of their senders kept with the verdict. Their names are asked of the machine's DNS.",
        default=True,
    )


@dataclass(frozen=True, slots=True)
class WitnessConfig:
    """Somebody else who cosigns what the log shows (C2SP tlog-witness). One [[witnesses]] for each."""

    key: VerifierKey = setting(
        addresses.WITNESS_KEY,
        "The verifier key that whoever runs the witness gave you, by another way than the network: "
        "one line, its name in front.",
    )
    url: str | None = setting(
        addresses.SERVICE_URL,
        "Its address: that to which /add-checkpoint is added.",
    )
    certificate_authority: Path | None = setting(
        values.OPTIONAL_PATH,
        "The certificate that its TLS certificate must lead to, a PEM file. Empty: as the system "
        "trusts.",
        default="",
    )


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, checked; paths are absolute."""

    web: WebConfig = field(default_factory=WebConfig)
    archive: ArchiveConfig = field(default_factory=ArchiveConfig)
    keys: KeysConfig = field(default_factory=KeysConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    intake: IntakeConfig = field(default_factory=IntakeConfig)
    log: LogConfig = field(default_factory=LogConfig)
    journal: JournalConfig = field(default_factory=JournalConfig)
    backup: BackupConfig = field(default_factory=BackupConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    access: AccessConfig = field(default_factory=AccessConfig)
    grants: GrantsConfig = field(default_factory=GrantsConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    notice: NoticeConfig = field(default_factory=NoticeConfig)
    disclosure: DisclosureConfig = field(default_factory=DisclosureConfig)
    sources: tuple[SourceConfig, ...] = ()
    witnesses: tuple[WitnessConfig, ...] = ()


SECTIONS: Mapping[str, type] = {
    "web": WebConfig,
    "archive": ArchiveConfig,
    "keys": KeysConfig,
    "storage": StorageConfig,
    "intake": IntakeConfig,
    "log": LogConfig,
    "journal": JournalConfig,
    "backup": BackupConfig,
    "limits": LimitsConfig,
    "access": AccessConfig,
    "grants": GrantsConfig,
    "media": MediaConfig,
    "notice": NoticeConfig,
    "disclosure": DisclosureConfig,
}

LISTS: Mapping[str, type] = {"sources": SourceConfig, "witnesses": WitnessConfig}
"""Sections of which there are as many as one likes."""
