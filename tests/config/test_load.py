"""What a configuration file may say, and how it is refused."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from service.config import (
    Address,
    Config,
    ConfigError,
    PostgresUrl,
    StorageUrl,
    load_config,
    parse_config,
)
from service.config.buckets import AWS_REGIONS, EEA, BucketUrl, endpoint_of_aws
from service.domain.identifiers import PhoneNumber

BASE = Path("/srv/taltio")
X25519 = "age1" + "q" * 58
HYBRID = "age1pq1" + "q" * 1952
SOURCE = '[[sources]]\nname = "phones"\nkind = "standard-webhooks"\nsecret_file = "phones"\n'


def read(text: str) -> Config:
    return parse_config(text, base=BASE)


def refusals(text: str) -> list[tuple[int | None, str]]:
    with pytest.raises(ConfigError) as refused:
        read(text)
    return [(problem.line, problem.message) for problem in refused.value.problems]


def test_an_empty_file_is_a_working_installation():
    config = read("")
    assert config.web.listen == Address("127.0.0.1", 8080)
    assert config.archive.directory == BASE / "data"
    assert config.archive.timezone == ZoneInfo("Europe/Helsinki")
    assert config.keys.directory == BASE / "keys"
    assert config.storage.database == StorageUrl("sqlite", BASE / "data/taltio.db")
    assert config.storage.blobs == StorageUrl("file", BASE / "data/blobs")
    assert config.log.anchor_directory is None
    assert config.sources == ()


def test_without_a_file_here_every_default_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config() == Config() == load_config(None)


def test_a_file_here_is_found_by_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("[grants]\nhours = 2\n")
    assert load_config().grants.hours == 2


def test_relative_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/taltio.toml"
    file.write_text('[archive]\ndirectory = "../data"\n')
    monkeypatch.chdir("/")
    config = load_config(file)
    assert config.archive.directory.resolve() == tmp_path / "data"
    assert config.keys.directory == tmp_path / "etc/keys"


def test_storage_follows_the_archive_directory():
    config = read('[archive]\ndirectory = "/var/lib/taltio"\n')
    assert str(config.storage.database) == "sqlite:///var/lib/taltio/taltio.db"
    assert str(config.storage.blobs) == "file:///var/lib/taltio/blobs"


S3 = '[storage]\nblobs = "s3://bucket"\n'
AT = 'region = "eu-north-1"\nendpoint = '
OWN = S3 + 'endpoint = "https://objects.example.fi:8333"\nregion = "fi-1"\n'


@pytest.mark.parametrize(
    ("url", "path"),
    [
        pytest.param("sqlite:///srv/a.db", Path("/srv/a.db"), id="absolute"),
        pytest.param("sqlite:////srv/a.db", Path("/srv/a.db"), id="absolute with four slashes"),
        pytest.param("sqlite:other/a.db", BASE / "other/a.db", id="relative"),
        pytest.param("sqlite:///srv/a%20b.db", Path("/srv/a b.db"), id="percent-encoded"),
    ],
)
def test_a_database_url_names_a_path(url, path):
    assert read(f'[storage]\ndatabase = "{url}"\n').storage.database.path == path


@pytest.mark.parametrize("region", sorted(AWS_REGIONS))
def test_a_bucket_at_amazon_stays_in_its_region(region):
    storage = read(f'[storage]\nblobs = "s3://bucket/a/b"\nregion = "{region}"\n').storage
    assert storage.blobs == BucketUrl("bucket", "a/b")
    assert str(storage.blobs) == "s3://bucket/a/b"
    assert AWS_REGIONS[region] in EEA
    assert f".{region}.amazonaws." in endpoint_of_aws(region)


@pytest.mark.parametrize("country", ["FI", "IS", "LI", "NO"])
def test_an_endpoint_of_ones_own_is_believed_about_its_country(country):
    storage = read(f'{OWN}country = "{country}"\n').storage
    assert storage.endpoint == "https://objects.example.fi:8333"


def test_an_endpoint_of_amazon_may_be_private_where_it_names_the_region():
    host = "https://bucket.vpce-1a2b.s3.eu-north-1.vpce.amazonaws.com"
    assert read(f'{S3}{AT}"{host}"\n'.replace("fi-1", "eu-north-1")).storage.endpoint == host


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///taltio",
        "postgres://taltio@localhost:5433/taltio",
        "postgresql://taltio@/taltio?host=/run/postgresql&passfile=/etc/taltio/pgpass",
        "postgresql://t@127.0.0.1,[::1]:5433/taltio?target_session_attrs=primary",
        "postgresql://t@db1:5432,db2:5432/taltio?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql:///taltio?synchronous_commit=remote_apply",
    ],
)
@pytest.mark.parametrize("name", ["database", "keys"])
def test_a_database_url_may_name_a_server(name, url):
    storage = read(f'[storage]\n{name} = "{url}"\n').storage
    assert getattr(storage, name) == PostgresUrl(url)
    assert url not in repr(storage)


def test_the_key_store_follows_the_database_unless_it_is_named():
    assert read("").storage.keys is None


def test_a_storage_url_is_read_back_as_it_is_written():
    database = StorageUrl("sqlite", Path("/srv/ä b/taltio.db"))
    assert read(f'[storage]\ndatabase = "{database}"\n').storage.database == database


@pytest.mark.parametrize(
    ("text", "address", "is_loopback"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0), True),
        ("127.8.8.8:80", Address("127.8.8.8", 80), True),
        ("localhost:8080", Address("localhost", 8080), True),
        ("[::1]:8080", Address("::1", 8080), True),
        ("[::ffff:127.0.0.1]:8080", Address("::ffff:127.0.0.1", 8080), True),
        ("192.0.2.1:8080", Address("192.0.2.1", 8080), False),
        ("[::]:8080", Address("::", 8080), False),
        ("archive.example.org:443", Address("archive.example.org", 443), False),
        ("localhost.example.org:443", Address("localhost.example.org", 443), False),
    ],
)
def test_an_address_is_host_and_port(text, address, is_loopback):
    web = read(f'[web]\nlisten = "{text}"\ntrusted_proxies = ["10.0.0.5"]\n').web
    assert web.listen == address
    assert web.listen.is_loopback is is_loopback
    assert str(web.listen) == text


def test_a_source_takes_what_it_does_not_say_from_the_sections():
    first, second = read(
        '[archive]\ndefault_region = "SE"\n[intake]\nexpected_grace_minutes = 5\n'
        + SOURCE
        + 'company_numbers = ["08-123 456 78"]\n'
        '[[sources]]\nname = "desk"\nkind = "api"\ngrace_minutes = 7\ncountry = "FI"\n'
        'company_numbers = ["010 19 2000"]\n'
    ).sources
    assert (first.country, first.grace_minutes) == ("SE", 5)
    assert first.company_numbers == (PhoneNumber("+46812345678"),)
    assert first.secret_file == BASE / "phones"
    assert (second.country, second.grace_minutes) == ("FI", 7)
    assert second.company_numbers == (PhoneNumber("+35810192000"),)


@pytest.mark.parametrize("kind", [("x25519", X25519), ("hybrid", HYBRID)])
def test_an_escrow_recipient_of_the_same_kind_is_taken(kind):
    keys = read(f'[keys]\nkind = "{kind[0]}"\nescrow_recipient = "{kind[1]}"\n').keys
    assert keys.escrow_recipient == kind[1]


@pytest.mark.parametrize(
    "text",
    [
        '[web]\nlisten = "0.0.0.0:80"\ntrusted_proxies = ["10.0.0.0/24", "fd00::/8"]\n',
        '[web]\nlisten = "0.0.0.0:443"\ncertificate = "c.pem"\ncertificate_key = "k.pem"\n',
    ],
)
def test_the_network_is_served_behind_a_proxy_or_with_a_certificate(text):
    assert not read(text).web.listen.is_loopback


def test_a_public_address_ends_without_a_slash():
    web = read('[web]\npublic_url = "https://archive.example.org:8443/"\n').web
    assert web.public_url == "https://archive.example.org:8443"


def test_every_problem_is_reported_at_once_with_its_line():
    assert refusals(
        "[web]\n"
        'listen = "0.0.0.0:8080"\n'
        "publik_url = 1\n"
        "\n"
        "[intake]\n"
        'tolerance_seconds = "300"\n'
        "max_delivery_bytes = 1\n"
        "[grant]\n"
        "hours = 8\n" + SOURCE + "[[sources]]\n"
        'name = "phones"\n'
        'kind = "api"\n'
    ) == [
        (
            2,
            (
                "[web] listen: 0.0.0.0:8080 would speak plain HTTP to the network; give "
                "certificate and certificate_key, or name the trusted_proxies in front"
            ),
        ),
        (3, "[web] publik_url: no such setting; did you mean public_url?"),
        (
            6,
            "[intake] tolerance_seconds: expected a whole number from 1 to 86400, got text",
        ),
        (
            7,
            "[intake] max_delivery_bytes: expected a whole number from 1024 to 67108864, got 1",
        ),
        (8, "grant: no such section; did you mean [grants]?"),
        (15, '[[sources]] name: "phones" is taken above'),
    ]


def test_the_error_reads_as_one_line_for_each_problem(tmp_path):
    file = tmp_path / "taltio.toml"
    file.write_text("[web]\nport = 1\n[grants]\nhours = 0\n")
    with pytest.raises(ConfigError) as refused:
        load_config(file)
    assert str(refused.value).splitlines() == [
        f"{file}:2: [web] port: no such setting",
        f"{file}:4: [grants] hours: expected a whole number from 1 to 168, got 0",
    ]


PBX = '[[sources]]\nname = "a"\nkind = "api"\n'
AB = PBX + 'fetch_origins = ["https://a.example"]\n'
VCON = PBX.replace('"api"', '"vcon"')
MAIL = PBX.replace('"api"', '"mail"')
SES = PBX.replace('"api"', '"ses"')
TOPIC = "arn:aws:sns:eu-north-1:123456789012:mails"
IMAP = 'imap_user = "b"\nimap_password_file = "c"\n'
MAILBOX = f'{MAIL}imap_server = "mail.example.fi:993"\n{IMAP}'
CHAT = AB.replace('"api"', '"chatwoot"\nsecret_file = "s"')
TOKEN = 'listing_account = 3\nlisting_token_file = "t"'
LISTING = f'{CHAT}listing = "https://a.example"\n'
REFUSED = [
    # Names
    ("directory = 1", 1, "belongs under [archive]"),
    ("a = 1", 1, "a: no such setting"),
    ('"\\u202e" = 1', 1, "no such setting"),
    ("[zzz]", 1, "zzz: no such section"),
    ("[source]", 1, "did you mean [sources]?"),
    ("web = 1", 1, "[web]: expected a section, got 1"),
    ("[[web]]", 1, "[web]: expected a section, got a list"),
    ("[sources]", 1, "write [[sources]]"),
    ("sources = [1]", 1, "[[sources]]: expected a section, got 1"),
    ("[web]\nhours = 8", 2, "belongs under [grants]"),
    ("web.lisen = 1", 1, "did you mean listen?"),
    # Types
    ("[web]\nlisten = 8080", 2, "expected text in double quotes, got 8080"),
    ("[web]\nsession_hours = true", 2, "got true"),
    ("[web]\nsession_hours = 1.5", 2, "got 1.5"),
    ("[web]\nsession_hours = 2026-01-01", 2, "got a date or time"),
    ('[web]\ntrusted_proxies = "10.0.0.5"', 2, 'expected a list such as ["…"], got text'),
    ("[web]\ntrusted_proxies = [1]", 2, "expected text"),
    ('[archive]\ndirectory = ""', 2, "expected a path, got nothing"),
    ('[archive]\ndirectory = "~/data"', 2, "write the path in full"),
    ('[archive]\ndirectory = "a\\u0000b"', 2, "cannot be seen"),
    # Ranges
    ("[web]\nsession_hours = 169", 2, "from 1 to 168"),
    ("[log]\ncheckpoint_seconds = 0", 2, "from 1 to 60"),
    ("[intake]\nsession_key_seconds = 601", 2, "from 1 to 600"),
    ("[web]\nsession_idle_minutes = 61\nsession_hours = 1", 2, "longer than session_hours"),
    # Addresses
    ('[web]\nlisten = "8080"', 2, "expected host:port"),
    ('[web]\nlisten = ":8080"', 2, "expected host:port"),
    ('[web]\nlisten = "::1:8080"', 2, "expected host:port"),
    ('[web]\nlisten = "[127.0.0.1]:8080"', 2, "expected host:port"),
    ('[web]\nlisten = "127.0.0.1:65536"', 2, "expected host:port"),
    ('[web]\nlisten = "127.0.0.1:-1"', 2, "expected host:port"),
    ('[web]\nlisten = "127.0.0.1:٣"', 2, "expected host:port"),
    ('[web]\nlisten = "127.0.0.300:80"', 2, "expected host:port"),
    ('[web]\nlisten = "http://127.0.0.1:80"', 2, "expected host:port"),
    ('[web]\nlisten = "[::]:8080"', 2, "plain HTTP to the network"),
    ('[web]\ntrusted_proxies = ["proxy"]', 2, "expected addresses or networks"),
    ('[web]\ntrusted_proxies = ["10.0.0.5/24"]', 2, "expected addresses or networks"),
    ('[web]\ntrusted_proxies = ["0.0.0.0/0"]', 2, "trusts every address"),
    ('[web]\ncertificate = "c.pem"', 2, "needs certificate_key as well"),
    ('[web]\ncertificate_key = "k.pem"', 2, "needs certificate as well"),
    ('[web]\npublic_url = "http://archive.example.org"', 2, "expected https://"),
    ('[web]\npublic_url = "archive.example.org"', 2, "expected https://host"),
    ('[web]\npublic_url = "https://archive.example.org/a"', 2, "expected only"),
    ('[web]\npublic_url = "https://[::1"', 2, "not a URL"),
    ('[web]\npublic_url = "https://a:b"', 2, "not a URL"),
    # Archive
    ('[archive]\ntimezone = "Helsinki"', 2, "such as Europe/Helsinki"),
    ('[archive]\ntimezone = "../etc/passwd"', 2, "such as Europe/Helsinki"),
    ('[archive]\ndefault_region = "fi"', 2, "two capital letters"),
    ('[archive]\ndefault_region = "XX"', 2, "two capital letters"),
    ("[archive]\nlanguages = []", 2, "at least one language"),
    ('[archive]\nlanguages = ["fi", "fi"]', 2, "at least one language"),
    ('[archive]\nlanguages = ["de"]', 2, "expected some of fi, sv, en"),
    ('[archive]\nname = "our archive"', 2, "expected a name"),
    # Keys
    ('[keys]\ndirectory = "data"', 2, "inside the archive directory"),
    ('[keys]\ndirectory = "data/keys"', 2, "inside the archive directory"),
    ('[keys]\ndirectory = "data/../data/keys"', 2, "inside the archive directory"),
    ('[keys]\ndirectory = "b/k"\n[storage]\nblobs = "file:b"', 2, "the blobs directory"),
    ('[keys]\nprovider = "pkcs11"\npkcs11_token = "t"', 2, "needs pkcs11_module as well"),
    ('[keys]\nprovider = "pkcs11"\npkcs11_module = "m.so"', 2, "needs pkcs11_token as well"),
    ("[keys]\npkcs11_pin_file = 1234", 2, "expected"),
    (
        (
            '[keys]\nprovider = "pkcs11"\npkcs11_token = "t"\npkcs11_module = "m.so"\n'
            "pkcs11_hold_seconds = 10\npkcs11_wait_seconds = 6"
        ),
        5,
        "less than twice",
    ),
    ('[keys]\nprovider = "vault"', 2, 'expected "file"'),
    ('[keys]\nkind = "rsa"', 2, 'expected "x25519" or "hybrid"'),
    ('[keys]\nescrow_recipient = "safe"', 2, "expected an age recipient"),
    (f'[keys]\nescrow_recipient = "{HYBRID}"', 2, "begin with age1 and not age1pq1"),
    (f'[keys]\nkind = "hybrid"\nescrow_recipient = "{X25519}"', 3, "begin with age1pq1"),
    # Storage
    (
        '[storage]\ndatabase = "postgresql://db/taltio"',
        2,
        "sslmode=verify-full",
    ),
    ('[storage]\nblobs = "s3://bucket"', 2, "needs region"),
    (S3 + 'region = "us-east-1"', 3, "not a region of Amazon in the European"),
    (S3 + 'region = "eu-west-2"', 3, "not a region of Amazon in the European"),
    (S3 + 'region = "eu-central-2"', 3, "not a region of Amazon in the European"),
    (S3 + 'region = "eu-north-1"\ncountry = "US"', 4, "eu-north-1 is in SE"),
    (OWN, 3, "needs country as well"),
    (OWN + 'country = "US"', 5, "US is not in the European"),
    (OWN + 'country = "GB"', 5, "GB is not in the European"),
    (OWN + 'country = "CH"', 5, "CH is not in the European"),
    (OWN + 'country = "Finland"', 5, "two capital letters"),
    (S3 + AT + '"https://s3.us-east-1.amazonaws.com"', 4, "does not name the region"),
    (S3 + AT + '"https://s3.amazonaws.com"', 4, "does not name the region"),
    (S3 + AT + '"https://S3-accelerate.AmazonAWS.com"\ncountry = "FI"', 4, "does not name"),
    (S3 + AT + '"http://objects.example.fi"\ncountry = "FI"', 4, "expected https://"),
    (S3 + AT + '"https://objects.example.fi/path"\ncountry = "FI"', 4, "expected only"),
    ('[storage]\nblobs = "s3://b"', 2, "expected s3://bucket"),
    ('[storage]\nblobs = "s3://Bucket"', 2, "expected s3://bucket"),
    ('[storage]\nblobs = "s3:bucket"', 2, "expected s3://bucket"),
    ('[storage]\nblobs = "s3://bucket/../x"', 2, "expected s3://bucket"),
    ('[storage]\nblobs = "s3://bucket//x"', 2, "expected s3://bucket"),
    ('[storage]\nblobs = "s3://bucket/x?region=y"', 2, "expected s3://bucket"),
    ('[storage]\ncountry = "FI"', 2, "means nothing unless blobs is s3://"),
    ('[storage]\ncredentials_file = "AKIAIOSFODNN7EXAMPLE"', 2, "is a secret itself"),
    ('[storage]\ndatabase = "postgresql://127.0.0.1,db/taltio"', 2, "sslmode=verify-full"),
    ('[storage]\nkeys = "postgresql:///taltio?host=db"', 2, "sslmode=verify-full"),
    ('[storage]\ndatabase = "postgresql://db/taltio?sslmode=require"', 2, "verify-full"),
    ('[storage]\ndatabase = "postgresql://taltio:x@/taltio"', 2, "has a password"),
    ('[storage]\ndatabase = "postgresql:///taltio?password=x"', 2, "has a password"),
    ('[storage]\ndatabase = "postgresql://localhost"', 2, "user@host/database"),
    ('[storage]\ndatabase = "postgresql:///taltio?fsync=off"', 2, "not understood here"),
    ('[storage]\ndatabase = "postgresql:///taltio?synchronous_commit=off"', 2, "may be on"),
    ('[storage]\ndatabase = "postgresql:///taltio?target_session_attrs=any"', 2, "primary"),
    ('[storage]\ndatabase = "postgresql:///taltio?sslmode"', 2, "not a URL"),
    ('[storage]\ndatabase = "postgresql://t@127.0.0.1:65536/taltio"', 2, "from 1 to 65535"),
    (
        '[storage]\ndatabase = "postgresql://t@127.0.0.1:1,[::1]:99999999/t"',
        2,
        "from 1 to 65535",
    ),
    ('[storage]\ndatabase = "postgresql:///taltio?port=70000"', 2, "from 1 to 65535"),
    ('[storage]\ndatabase = "postgresql:///taltio?port=abc"', 2, "port is a number"),
    ('[storage]\nblobs = "/srv/blobs"', 2, "expected file:///path"),
    ('[storage]\ndatabase = "sqlite://srv/a.db"', 2, "expected sqlite:///path"),
    ('[storage]\ndatabase = "sqlite:"', 2, "expected sqlite:///path"),
    ('[storage]\ndatabase = "sqlite:///a.db?mode=ro"', 2, "expected sqlite:///path"),
    ('[storage]\ndatabase = "sqlite:///a%00.db"', 2, "cannot be seen"),
    ('[storage]\ndatabase = "mysql://db"', 2, "expected sqlite:///path"),
    ("[storage]\ndatabase = 1", 2, "expected text"),
    # Log
    ('[log]\nanchor_directory = "data/anchors"', 2, "inside the archive directory"),
    # Sources
    ('[[sources]]\nname = "a"', 1, "kind: is missing"),
    ('[[sources]]\nkind = "api"', 1, "name: is missing"),
    ('[[sources]]\nname = "A b"\nkind = "api"', 2, "expected a name of small letters"),
    ('[[sources]]\nname = "a"\nkind = "telex"', 3, 'expected "standard-webhooks" or "api" or'),
    ('[[sources]]\nname = "a"\nkind = "standard-webhooks"', 3, "needs secret_file"),
    ('[[sources]]\nname = "a"\nkind = "api"\nsecret_file = "s"', 3, "no secret_file"),
    # Fetching
    (f'{PBX}fetch_origins = "https://a"', 4, "expected a list"),
    (f'{PBX}fetch_origins = ["a.example"]', 4, "expected origins such as"),
    (f'{PBX}fetch_origins = ["https://*.example"]', 4, "expected origins such as"),
    (f'{PBX}fetch_origins = ["https://a.example/b"]', 4, "expected origins such as"),
    (f'{PBX}fetch_origins = ["ftp://a.example"]', 4, "neither https:// nor http://"),
    (f'{PBX}fetch_origins = ["https://127.1"]', 4, "its host is a number"),
    (f'{PBX}fetch_origins = ["https://a", "https://A:443"]', 4, "https://a is named twice"),
    (f'{AB}fetch_networks = ["pbx"]', 5, "expected addresses or networks"),
    (f'{AB}fetch_networks = ["10.0.0.5/8"]', 5, "expected addresses or networks"),
    (f'{AB}fetch_networks = ["::/0"]', 5, "is every address"),
    (f'{AB}fetch_networks = ["169.254.0.0/16"]', 5, "is never connected to"),
    (f'{AB}fetch_networks = ["169.254.169.254"]', 5, "is never connected to"),
    (f'{AB}fetch_networks = ["ff00::/8"]', 5, "is never connected to"),
    (f'{PBX}fetch_networks = ["10.0.0.0/8"]', 4, "means nothing without fetch_origins"),
    (f'{PBX}fetch_certificate_authority = "a"', 4, "means nothing without fetch_origins"),
    (f'{AB}fetch_credentials = ["https://a.example"]', 5, "a space and the path of a file"),
    (f'{AB}fetch_credentials = ["https://b.example f"]', 5, "is none of fetch_origins"),
    (f'{AB}fetch_credentials = ["https://a.example:444 f"]', 5, "is none of fetch_origins"),
    (f'{AB}fetch_credentials = ["http://a.example f"]', 5, "is none of fetch_origins"),
    (f'{AB}fetch_credentials = ["https://a.example f", "https://a.example g"]', 5, "twice"),
    (f'{AB}fetch_credentials = ["https://a.example Basic a:b"]', 5, "a secret itself"),
    (f"{AB}fetch_max_bytes = 1", 5, "from 1024 to"),
    (f"{AB}fetch_bytes_per_second = 0", 5, "from 1 to"),
    (f"{AB}fetch_minutes = 241", 5, "from 1 to 240"),
    # Listings
    (f'{AB}listing = "https://a.example"\n{TOKEN}', 5, 'is for sources of kind "chatwoot"'),
    (f'{LISTING}listing_token_file = "t"', 6, "needs listing_account as well"),
    (f"{LISTING}listing_account = 3", 6, "needs listing_token_file as well"),
    (f"{AB}listing_account = 3", 5, 'is for sources of kind "chatwoot"'),
    (f'{CHAT}listing_token_file = "t"', 6, "means nothing without listing"),
    (f'{CHAT}listing = "https://b.example"\n{TOKEN}', 6, "is none of fetch_origins"),
    (f'{CHAT}listing = "https://a.example/?a"', 6, "expected https://host:port/path"),
    # Mail
    (f'{PBX}mail_listen = "127.0.0.1:24"', 4, 'is for sources of kind "mail"'),
    (f'{MAIL}mail_listen = "0.0.0.0:24"', 4, "other machines than this one need"),
    (f'{MAIL}mail_listen = "[::1]:24"\nmail_certificate = "c"', 5, "belong together"),
    (f'{MAIL}mail_recipients = ["archive"]', 4, "expected addresses such as"),
    (f'{PBX}imap_server = "a:993"\n{IMAP}', 4, 'is for sources of kind "mail"'),
    (f'{MAIL}imap_server = "a"\n{IMAP}', 4, "expected host:port"),
    (f'{MAIL}imap_server = "a:993"\nimap_user = "b"', 4, "needs imap_password_file as well"),
    (f'{MAIL}imap_server = "a:993"\nimap_password_file = "c"', 4, "needs imap_user as well"),
    (f"{MAILBOX}imap_mailboxes = []", 4, "needs imap_mailboxes as well"),
    (f'{MAILBOX}imap_mailboxes = ["INBOX", "INBOX"]', 7, "is named twice"),
    (f'{MAILBOX}imap_mailboxes = [""]', 7, "expected names such as INBOX"),
    (f'{MAILBOX}imap_mailboxes = ["a\\nb"]', 7, "cannot be seen"),
    (f"{MAILBOX}imap_mailboxes = {[str(n) for n in range(17)]}", 7, "more than 16"),
    (f'{MAILBOX}imap_since = "22.11.2026"', 7, "expected a day such as"),
    (f'{MAILBOX}imap_since = "2026-W47"', 7, "expected a day such as"),
    (f'{MAILBOX}imap_since = "2026-02-30"', 7, "expected a day such as"),
    (f'{MAIL}imap_user = "a"', 4, "means nothing without imap_server"),
    (f'{MAIL}imap_password_file = "a"', 4, "means nothing without imap_server"),
    (f'{MAIL}imap_since = "2026-11-22"', 4, "means nothing without imap_server"),
    (f'{MAIL}imap_certificate_authority = "a"', 4, "means nothing without imap_server"),
    # topics
    (f'{PBX}topics = ["{TOPIC}"]', 4, 'is for sources of kind "ses"'),
    (f'{SES}secret_file = "a"', 3, "needs topics and secret_file"),
    (f'{SES}topics = ["{TOPIC}"]', 3, "needs topics and secret_file"),
    (f'{SES}secret_file = "a"\ntopics = ["mails"]', 5, "expected topics such as"),
    (f'{SES}secret_file = "a"\ntopics = ["{TOPIC}\\n"]', 5, "topics"),
    (
        f'{SES}secret_file = "a"\ntopics = ["{TOPIC}"]\nfetch_origins = ["http://a.example"]',
        6,
        "over https:// alone",
    ),
    # vCon
    (f'{PBX}vcon_certificates = "a"', 4, 'is for sources of kind "vcon"'),
    (f"{VCON}vcon_signed = true", 4, "needs vcon_certificates"),
    (f'{VCON}vcon_direction = "both"', 4, '"inbound"'),
    (f"{VCON}vcon_max_bytes = 1", 4, "from 1024 to"),
    ('[disclosure]\ncertificate = "a"', 2, "needs certificate_key as well"),
    ('[disclosure]\ncertificate_key = "a"', 2, "needs certificate as well"),
    (SOURCE + 'secret = "x"', 5, "did you mean secret_file?"),
    (SOURCE + 'country = "Suomi"', 5, "two capital letters"),
    (SOURCE + 'company_numbers = ["12"]', 5, "telephone number"),
    (SOURCE + "grace_minutes = -1", 5, "from 0 to 43200"),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED)
def test_refuses(text, line, message):
    problems = refusals(text)
    assert len(problems) == 1, problems
    assert problems[0][0] == line
    assert message in problems[0][1]


@pytest.mark.parametrize(
    "text",
    [
        SOURCE.replace('"phones"\n', '"whsec_hunter2hunter2"\n').replace(
            'name = "whsec_hunter2hunter2"', 'name = "phones"'
        ),
        '[keys]\nescrow_recipient = "AGE-SECRET-KEY-1HUNTER2"',
        '[storage]\ndatabase = "mysql://taltio:hunter2@db/taltio"',
        '[storage]\ndatabase = "postgresql://taltio:hunter2@db/taltio"',
        '[storage]\ndatabase = "mysql://taltio:hunter2"',
        '[storage]\nblobs = "s3://key:hunter2@bucket"',
        '[storage]\nendpoint = "https://key:hunter2@objects.example.fi"',
        '[storage]\ncredentials_file = "AKIAHUNTER2"',
        '[storage]\ndatabase = "postgresql://taltio:hunter2/db"',
        '[storage]\nkeys = "postgresql:///db?password=hunter2"',
        '[web]\npublic_url = "ftp://taltio:hunter2@archive.example.org"',
        '[web]\nsecret = "hunter2"',
        'password = "hunter2',
        '[keys]\ndirectory = ["hunter2"]',
    ],
)
def test_a_refusal_never_repeats_a_secret(text):
    assert "hunter2" not in str(refusals(text)).lower()


def test_keys_in_the_archive_are_refused_behind_a_symbolic_link_too(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "keys").symlink_to(tmp_path / "data", target_is_directory=True)
    with pytest.raises(ConfigError, match="inside the archive directory"):
        parse_config("", base=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('[web]\ncertificate = 1\ncertificate_key = "k.pem"', id="certificate"),
        pytest.param('[web]\nlisten = "[::]:80"\ntrusted_proxies = [1]', id="proxies"),
        pytest.param(f'[keys]\nkind = "pq"\nescrow_recipient = "{HYBRID}"', id="kind"),
        pytest.param('[archive]\ndirectory = 1\n[keys]\ndirectory = "data/k"', id="directory"),
        pytest.param(SOURCE.replace('file = "phones"', "file = 1"), id="secret"),
    ],
)
def test_a_value_that_could_not_be_read_contradicts_nothing(text):
    assert len(refusals(text)) == text.count("= 1") + text.count("[1]") + text.count('"pq"')


def test_a_source_says_where_recordings_may_be_fetched_from():
    (source,) = read(
        PBX + 'fetch_origins = ["https://PBX.example:8443/", "http://10.0.0.5"]\n'
        'fetch_networks = ["10.0.0.0/8", "fd12::1"]\n'
        'fetch_credentials = ["https://pbx.example:8443 secrets/pbx", "http://10.0.0.5 /etc/b"]\n'
    ).sources
    assert [str(origin) for origin in source.fetch_origins] == [
        "https://pbx.example:8443",
        "http://10.0.0.5",
    ]
    assert [(str(one.origin), one.file) for one in source.fetch_credentials] == [
        ("https://pbx.example:8443", BASE / "secrets/pbx"),
        ("http://10.0.0.5", Path("/etc/b")),
    ]
    assert [str(network) for network in source.fetch_networks] == ["10.0.0.0/8", "fd12::1/128"]


@pytest.mark.parametrize(
    "line",
    [
        'fetch_origins = ["https://pbx:hush-hush@a.example"]',
        'fetch_origins = ["https://a.example"]\nfetch_credentials = ["https://a.example Bearer hush-hush"]',
    ],
)
def test_a_secret_that_is_written_where_none_belongs_is_not_repeated(line):
    assert "hush" not in str(refusals(PBX + line))


def test_sources_without_names_are_not_of_the_same_name():
    problems = refusals('[[sources]]\nkind = "api"\n[[sources]]\nkind = "api"\n')
    assert [line for line, _ in problems] == [1, 3]
    assert all("name: is missing" in message for _, message in problems)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "there is no such file", id="missing"),
        pytest.param(b"[web]\n# \xe4\n", ":2: is not UTF-8", id="latin 1"),
        pytest.param(b"#" * 300_000, "is larger than", id="large"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, content, message):
    file = tmp_path / "taltio.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(file)


def test_a_directory_in_place_of_the_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    file = tmp_path / "taltio.toml"
    file.write_bytes(b"\xef\xbb\xbf[grants]\r\nhours = 2\r\n")
    assert load_config(file).grants.hours == 2
