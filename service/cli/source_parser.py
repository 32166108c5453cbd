"""What ``taltio sources`` takes."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from service.connecting.replaying import Scope
from service.connecting.settings import CONNECTABLE

Adding = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds a command: its name, what it does, and its function."""
_HOURS: Final = 24


def add_source_commands(add: Adding) -> None:
    """Add the commands of the group."""
    new = add("add", "connect a source and print its secret", "source_commands:add")
    new.add_argument("kind", metavar="KIND", choices=CONNECTABLE, help=", ".join(CONNECTABLE))
    new.add_argument("--name", help="part of its addresses, never changed; the kind by default")
    new.add_argument(
        "--carries",
        action="append",
        default=[],
        metavar="CHANNEL DIRECTION",
        help='such as "call inbound"; more than once for more; by default what its kind usually does',
    )
    new.add_argument("--country", default="", help="of numbers without a country code")
    new.add_argument("--timezone", default="", help="of times that do not tell theirs")
    new.add_argument(
        "--grace-minutes",
        type=int,
        default=0,
        help="how long an announced recording is expected",
    )
    new.add_argument(
        "--company-number",
        action="append",
        default=[],
        metavar="NUMBER",
        help="a number of your own, which finds nobody; more than once for more",
    )
    add("list", "list the sources, also those of the settings", "source_commands:list_sources")
    add("show", "tell of one source", "source_commands:show").add_argument(
        "name", metavar="NAME"
    )
    deliveries = add(
        "deliveries", "list what came lately, with its checks", "source_commands:deliveries"
    )
    deliveries.add_argument("name", metavar="NAME")
    secret = add("secret", "make a new secret and print it", "source_commands:change_secret")
    secret.add_argument("name", metavar="NAME")
    secret.add_argument(
        "--overlap-hours",
        type=int,
        default=_HOURS,
        metavar="HOURS",
        help=f"the secret before counts for so long; {_HOURS} by default, at the most 720",
    )
    mapping = add(
        "map",
        "read the source's JSON by a field map, or print the one that is",
        "source_commands:map_fields",
    )
    mapping.add_argument("name", metavar="NAME")
    mapping.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE.json",
        help="an object: a rule for each field",
    )
    live = add("live", "let what comes from now on become contacts", "source_commands:go_live")
    live.add_argument("name", metavar="NAME")
    live.add_argument(
        "--with-trials", action="store_true", help="also what came while it was being connected"
    )
    _add_replay(add)
    remove = add("remove", "take nothing more from a source", "source_commands:remove")
    remove.add_argument("name", metavar="NAME")


def _add_replay(add: Adding) -> None:
    replay = add("replay", "understand deliveries anew", "source_commands:replay")
    replay.add_argument("name", metavar="NAME")
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("delivery", nargs="?", metavar="DELIVERY", help="this one")
    for scope, text in (
        (Scope.FAILED, "what was not understood, or waits"),
        (Scope.TRIAL, "what came before the source was live"),
        (Scope.ALL, "everything that is still there; what was understood amends what is empty"),
    ):
        which.add_argument(
            f"--{scope}", action="store_const", const=scope, dest="scope", help=text
        )
