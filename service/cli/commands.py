"""Every subcommand: what it takes, and the function that does it.

A command's module is imported when it is asked for, so that none waits for what another needs.
"""

import argparse
import gc
import importlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, cast

from service.cli.source_parser import add_source_commands
from service.config import Config
from service.config.roles import ProcessRole
from service.domain.actor import Role

Command = Callable[[Config, argparse.Namespace], Awaitable[int]]
_ROLES: Final = sorted(Role)
_WITHOUT_CONFIG: Final = frozenset(
    {
        "demo_command:demo",
        "log_commands:verify",
        "witness:create",
        "witness:watch",
        "witness:serve",
    }
)
_PERSONAL: Final = [role for role in _ROLES if role is not Role.INTEGRATION]


_LAST_PORT: Final = 65535
_A_DAY: Final = 24 * 3600
_SERVE: Final = """\
Run the service until it is told to stop (SIGTERM, Ctrl-C).

One process does everything (all). On PostgreSQL, with blobs in a bucket or in
files that all can reach, any number of each role may share an archive:

  intake   takes in webhooks and recordings, and opens nothing: its machine
           needs no private key (taltio keys intake DIR makes what it needs)
  desk     pages, the API, openings, administration
  worker   understands deliveries, examines recordings, publishes the log,
           keeps house; it listens for /readyz and /metrics alone
  all      the three together

The first process of a new archive is a worker or does everything."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; ``run`` in what it returns does what is asked."""
    parser = argparse.ArgumentParser(
        prog="taltio",
        description="An archive of customer contacts: recorded, found, heard, proven.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add(
        commands, "demo", "a small world in a temporary archive", "demo_command:demo"
    ).add_argument(
        "--port", type=int, default=0, help="the port to listen on; a free one by default"
    )
    _add(
        commands, "verify", "read and check everything that is stored", "verify_command:verify"
    )
    _add_customers(commands)
    _add_sources(commands)
    _add_users(commands)
    _add_tokens(commands)
    _add_keys(commands)
    _add_contacts(commands)
    _add_holds(commands)
    _add_erasures(commands)
    _add_log(commands)
    _add_jobs(commands)
    _add_backup(commands)
    _add_migrate(commands)
    _add_witness(commands)
    return parser


def _add_serve(commands: "_Commands[argparse.ArgumentParser]") -> None:
    serve = _add(commands, "serve", "run the service", "serve:serve")
    serve.formatter_class = argparse.RawDescriptionHelpFormatter
    serve.description = _SERVE
    serve.add_argument(
        "--role",
        choices=[role.value for role in ProcessRole],
        default=ProcessRole.ALL.value,
        help="what this process does; everything by default",
    )
    serve.add_argument(
        "--port",
        type=_port,
        help="the port to listen on, instead of that of [web] listen: each process of a machine needs its own",
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:6]) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {_LAST_PORT}")
    return int(text)


_Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse gives its type no public name


def _add(
    commands: "_Commands[argparse.ArgumentParser]", name: str, text: str, function: str
) -> argparse.ArgumentParser:
    """Add a command; ``function`` is ``module:function`` below this package."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the settings; config.toml here by default"
    )
    parser.set_defaults(run=_later(function), needs_config=function not in _WITHOUT_CONFIG)
    return parser


def _group(
    commands: "_Commands[argparse.ArgumentParser]", name: str, text: str
) -> "_Commands[argparse.ArgumentParser]":
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _later(function: str) -> Command:
    module, _, name = function.partition(":")

    async def run(config: Config, options: argparse.Namespace) -> int:
        # What is loaded is no garbage; looking for some meanwhile takes a tenth of the start.
        gc.disable()
        try:
            loaded = importlib.import_module(f"service.cli.{module}")
        finally:
            gc.freeze()
            gc.enable()
        command = cast("Command", getattr(loaded, name))
        return await command(config, options)

    return run


def _add_customers(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "customers", "the customer register")
    _add(
        group, "import", "bring customers in from a CSV file", "customers:import_customers"
    ).add_argument("file", type=Path, metavar="FILE.csv")


def _add_sources(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "sources", "systems that send to the archive")
    bring = _add(
        group,
        "import",
        "keep the files that a source left in a directory, as if it had sent them",
        "sources:import_files",
    )
    compare = _add(
        group,
        "reconcile",
        "compare what a source says it handled, as CSV, with what it delivered",
        "reconcile:reconcile",
    )
    compare.add_argument("name", metavar="NAME", help="the name of the source in the settings")
    compare.add_argument("file", type=Path, metavar="FILE.csv")
    compare.add_argument(
        "--dry-run", action="store_true", help="only say what would come of it"
    )
    _add(
        group,
        "completeness",
        "print how much of what each source says is here, by month",
        "reconcile:completeness",
    )
    listing = _add(
        group,
        "read-listing",
        "read what a source lists of the days since one, and compare them",
        "listing:read_listing",
    )
    listing.add_argument("name", metavar="NAME", help="the name of the source in the settings")
    listing.add_argument("--since", required=True, metavar="DAY", help="such as 2026-11-22")
    add_source_commands(lambda name, text, function: _add(group, name, text, function))
    bring.add_argument("name", metavar="NAME", help="the name of the source in the settings")
    bring.add_argument("directory", type=Path, metavar="DIR")
    bring.add_argument(
        "--move-to",
        type=Path,
        metavar="DIR",
        help="move what is kept there; by default it stays, and is known the next time",
    )
    bring.add_argument(
        "--settle",
        type=_seconds,
        default=60,
        metavar="SECONDS",
        help="leave files alone that were written so lately; 60 by default",
    )


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:6]) > _A_DAY:
        raise argparse.ArgumentTypeError(f"seconds are a number from 0 to {_A_DAY}")
    return int(text)


def _add_users(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "users", "people who sign in")
    add = _add(group, "add", "add a user and print their one-time link", "access:add_user")
    add.add_argument("login", metavar="LOGIN")
    add.add_argument("--name", help="the person's name; the login by default")
    add.add_argument("--role", action="append", required=True, choices=_PERSONAL, dest="roles")
    add.add_argument("--until", metavar="DATE", help="the account's last day")
    add.add_argument(
        "--organisation", default="", help="whom they work for, when not for us; needs --until"
    )
    roles = _add(group, "roles", "give a user these roles and no others", "access:set_roles")
    roles.add_argument("login", metavar="LOGIN")
    roles.add_argument(
        "--role", action="append", required=True, choices=_PERSONAL, dest="roles"
    )
    _add(group, "list", "list all users", "access:list_users")
    confirm = _add(
        group, "confirm", "confirm that users still need their roles", "access:confirm_users"
    )
    confirm.add_argument("logins", nargs="+", metavar="LOGIN")
    until = _add(group, "until", "let a user's account end", "access:set_end")
    until.add_argument("login", metavar="LOGIN")
    until.add_argument("day", metavar="DATE", help="the last day, or never")
    for name, text in (
        ("disable", "keep a user out"),
        ("enable", "let a disabled or locked user in again"),
        ("reset", "print a new one-time link, password and second factor being void"),
    ):
        _add(group, name, text, f"access:{name}_user").add_argument("login", metavar="LOGIN")
    text = "forget a user's second factor, whose telephone and codes are lost"
    _add(group, "forget-factor", text, "access:forget_factor").add_argument(
        "login", metavar="LOGIN"
    )


def _add_tokens(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "tokens", "tokens of machines")
    create = _add(group, "create", "print a new token and nothing else", "access:create_token")
    create.add_argument("--role", required=True, choices=_ROLES)
    create.add_argument("--name", required=True, help="what the token is for")
    create.add_argument("--source", help="the only source for which it counts (integration)")
    _add(group, "list", "list all tokens", "access:list_tokens")
    _add(group, "revoke", "make a token worth nothing", "access:revoke_token").add_argument(
        "id", metavar="ID"
    )


def _add_keys(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "keys", "the epochs of the archive's keys")
    _add(group, "list", "list the epochs", "keys:list_epochs")
    _add(
        group,
        "intake",
        "write the keys directory of a machine that only takes in: no private key is in it",
        "keys:write_intake",
    ).add_argument("directory", type=Path, metavar="DIR")
    _add(
        group,
        "init",
        "make the key on the token that wraps the archive's keys",
        "keys_token:make_token_key",
    )
    moving = _add(
        group, "move", "move the keys into the token, or out of it", "keys_token:move"
    )
    moving.add_argument(
        "--to", required=True, choices=("pkcs11", "file"), help="where the keys are to be"
    )
    _add(group, "rotate", "begin a new epoch and move every key to it", "keys:rotate")
    _add(
        group, "destroy", "destroy an epoch that opens nothing any more", "keys:destroy"
    ).add_argument("number", type=int, metavar="EPOCH")


def _add_contacts(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "contacts", "contacts")
    export = _add(
        group,
        "export",
        "hand a contact out, which is logged as a disclosure",
        "export_command:export",
    )
    export.add_argument("contact", metavar="CONTACT")
    export.add_argument("--format", required=True, choices=["age", "vcon"])
    export.add_argument("--out", required=True, type=Path, metavar="DIR")
    export.add_argument("--actor", required=True, metavar="LOGIN", help="who hands it out")
    export.add_argument("--purpose", required=True)
    export.add_argument("--complaint", help="the reference of the complaint")
    export.add_argument("--request", help="the reference of the request")
    export.add_argument(
        "--recipient", metavar="age1…", help="who can open the age files (format age)"
    )
    export.add_argument(
        "--unsigned",
        action="store_true",
        help="do not sign the vCon, although [disclosure] names a certificate",
    )


def _add_holds(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "holds", "legal holds: what must not be erased")
    place = _add(group, "place", "place a hold and print its id", "hold_commands:place")
    target = place.add_mutually_exclusive_group(required=True)
    target.add_argument("--contact", help="the contact that is held")
    target.add_argument(
        "--customer", metavar="NUMBER", help="whose contacts are held, also later ones"
    )
    place.add_argument("--from", dest="period_from", help="of those, what began then or later")
    place.add_argument("--to", dest="period_to", help="of those, what began before")
    place.add_argument("--reason", required=True)
    place.add_argument("--reference", help="the reference of the case")
    place.add_argument("--review-on", metavar="DAY", help="when somebody looks again")
    listing = _add(group, "list", "list the holds", "hold_commands:list_holds")
    listing.add_argument("--all", action="store_true", help="the released ones too")
    request = _add(
        group, "request-release", "ask that a hold ends", "hold_commands:request_release"
    )
    release = _add(
        group, "release", "agree that it ends, as the second person", "hold_commands:release"
    )
    for command in (request, release):
        command.add_argument("id", metavar="HOLD")
    for command in (place, listing, request, release):
        command.add_argument("--actor", required=True, metavar="LOGIN", help="who does it")


def _add_erasures(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "erase", "erasing contacts, by two people")
    request = _add(group, "request", "ask that a contact is erased", "erase_commands:request")
    request.add_argument("contact", metavar="CONTACT")
    request.add_argument("--ground", required=True, help="why: a word of the closed list")
    request.add_argument("--reference", help="the reference of the request or order")
    approve = _add(
        group, "approve", "agree, as the second person: it is erased", "erase_commands:approve"
    )
    withdraw = _add(
        group, "withdraw", "take back what is not decided", "erase_commands:withdraw"
    )
    for command in (approve, withdraw):
        command.add_argument("id", metavar="ERASURE")
    listing = _add(group, "list", "list the erasures", "erase_commands:list_erasures")
    for command in (request, approve, withdraw, listing):
        command.add_argument("--actor", required=True, metavar="LOGIN", help="who does it")


def _add_log(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "log", "the log, from its published files alone")
    proof = _add(group, "proof", "write an entry and its proof", "log_commands:prove")
    proof.add_argument("entry", type=int, metavar="ENTRY", help="the index of the entry")
    proof.add_argument("--log", type=Path, metavar="DIR", help="the published log")
    proof.add_argument("--out", type=Path, metavar="DIR", default=Path())
    verify = _add(
        group,
        "verify",
        "check a published log: exit code 0 verified, 1 altered, 2 could not be checked",
        "log_commands:verify",
    )
    verify.add_argument("directory", type=Path, metavar="DIR")
    verify.add_argument(
        "--key", type=Path, metavar="FILE", help="a verifier key that you trust"
    )
    verify.add_argument(
        "--witness",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="the verifier key of a witness whose cosignature is asked for; more than once for more",
    )
    verify.add_argument(
        "--timestamps",
        type=Path,
        metavar="FILE",
        help="the certificates (PEM) of the authority whose timestamps are checked",
    )
    verify.add_argument(
        "--proof", type=Path, metavar="FILE", help="check one entry file against this proof"
    )


def _add_jobs(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "jobs", "work beside requests, such as examining recordings")
    _add(group, "list", "list what waits, what runs and what failed for good", "jobs:list_jobs")
    _add(
        group, "retry", "let a job that failed for good begin anew", "jobs:retry"
    ).add_argument("id", metavar="ID")


def _add_witness(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "witness", "vouch on another machine that a log has only grown")
    create = _add(
        group, "create", "make a witness and print its verifier key", "witness:create"
    )
    create.add_argument("directory", type=Path, metavar="DIR")
    create.add_argument(
        "--name", required=True, help="its name, best a domain name of whoever runs it"
    )
    watch = _add(group, "watch", "cosign for one more log", "witness:watch")
    watch.add_argument("directory", type=Path, metavar="DIR")
    watch.add_argument("key", type=Path, metavar="VKEY", help="the file vkey of the log")
    serve = _add(group, "serve", "cosign what continues what was cosigned", "witness:serve")
    serve.add_argument("directory", type=Path, metavar="DIR")
    serve.add_argument("--listen", default="127.0.0.1:8090", metavar="HOST:PORT")
    serve.add_argument("--certificate", type=Path, metavar="FILE", help="TLS chain, PEM")
    serve.add_argument("--certificate-key", type=Path, metavar="FILE", help="its key, PEM")


def _add_backup(commands: "_Commands[argparse.ArgumentParser]") -> None:
    group = _group(commands, "backup", "backups of the archive and of its key store")
    create = _add(group, "create", "make a backup beside the running service", "backup:create")
    create.add_argument(
        "--first", action="store_true", help="the directory is a new place for backups"
    )
    _add(group, "list", "list the backups", "backup:list_backups")
    verify = _add(
        group,
        "verify",
        "read and check backups: exit code 0 verified, 1 altered, 2 could not be checked",
        "backup:verify",
    )
    verify.add_argument("names", nargs="*", metavar="NAME", help="these; all by default")
    verify.add_argument(
        "--drill",
        action="store_true",
        help="bring one up in a temporary place instead, and try it; the newest by default",
    )
    restore = _add(
        group, "restore", "restore a backup to an empty place", "backup_restore:restore"
    )
    restore.add_argument("name", nargs="?", metavar="NAME", help="which; the newest by default")
    ledger = restore.add_mutually_exclusive_group(required=True)
    ledger.add_argument(
        "--ledger", type=Path, metavar="DIR", help="the ledger of the archive that was lost"
    )
    ledger.add_argument(
        "--without-ledger",
        action="store_true",
        help="the ledger is lost too: what was erased since the newest backup comes back",
    )
    restore.add_argument(
        "--older-keys",
        action="store_true",
        help="the newest backup of the key store cannot be used: take an older one; exit code 1",
    )
    for command in (verify, restore):
        command.add_argument(
            "--identity",
            type=Path,
            metavar="FILE",
            help="a file with an age identity to which backups were sealed as well",
        )


def _add_migrate(commands: "_Commands[argparse.ArgumentParser]") -> None:
    migrate = _add(
        commands,
        "migrate",
        "move the archive to PostgreSQL, an object store, or both",
        "migrate:migrate",
    )
    migrate.add_argument("--to", metavar="URL", help="postgresql://user@host/database")
    migrate.add_argument("--keys", metavar="URL", help="another database for the key store")
    migrate.add_argument("--blobs", metavar="URL", help="s3://bucket/prefix or file:///path")
    for name in ("region", "endpoint", "country", "credentials-file", "filer"):
        migrate.add_argument(
            f"--{name}", help=f"of the bucket, as [storage] {name.replace('-', '_')}"
        )
    migrate.add_argument(
        "--dry-run", action="store_true", help="tell what would be moved, and move nothing"
    )
    migrate.add_argument(
        "--back",
        action="store_true",
        help="give a move up, as long as nothing was written at the new place",
    )
