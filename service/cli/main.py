"""The command line: what can be asked, and the exit codes."""

import argparse
import asyncio
import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from service.cli.account import require_account
from service.cli.commands import build_parser
from service.cli.hardening import harden
from service.config import Config, ConfigError, load_config, parse_config
from service.config.roles import ProcessRole
from service.domain.errors import ArchiveError, InvalidInputError
from storage.errors import StorageError

EXIT_FAILED: Final = 2
"""Not done. Verifying ends with 0 verified, 1 altered, 2 could not be checked; everything else with 0 or 2.

Making and restoring backups end with 1 where they were done and something is missing: objects that were damaged, or
keys because older ones were asked for.
"""
EXIT_INTERRUPTED: Final = 130
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_log: Final = logging.getLogger("taltio")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks, in a hardened process; return the exit code.

    Whatever goes wrong that nobody foresaw ends with ``EXIT_FAILED``: 1 says that something was altered, or is damaged.
    """
    options = build_parser().parse_args(arguments)
    try:
        harden()
        _print_everything()
        config = _config(options)
        with asyncio.Runner(loop_factory=_loop_factory(options)) as runner:
            code = int(runner.run(options.run(config, options)))
        # What cannot be printed is not an answer; at exit it would be too late to say so.
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the outermost edge: told, with a traceback where it is a bug
        _tell(error)
        return EXIT_FAILED
    return code


def _tell(error: BaseException) -> None:
    """Say what went wrong; of several things that happened at once, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BrokenPipeError) or (
        isinstance(error, OSError) and error.errno in _NO_ROOM
    ):
        # Nobody can read it; the interpreter would complain of that at its exit (library reference, signal).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"taltio: not everything could be written: {error.strerror}", file=sys.stderr)
    elif isinstance(error, ConfigError):
        print(error, file=sys.stderr)
    elif isinstance(error, InvalidInputError):
        print(f"taltio: {error.detail}", file=sys.stderr)
    elif isinstance(error, ArchiveError | StorageError):
        print(f"taltio: {error}", file=sys.stderr)
    else:
        _log.error("program.fault", exc_info=error)
        print(
            f"taltio: stopped by a fault in the program ({type(error).__name__}). What was asked for is not done, and"
            " nothing is said of what is stored.",
            file=sys.stderr,
        )


def _print_everything() -> None:
    """Print what the terminal has no character for as its escape, and nowhere what goes to a closed stream."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # it stays open to the end
            setattr(sys, name, nowhere)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _config(options: argparse.Namespace) -> Config:
    """Return the settings; a command that needs none is not stopped by what is wrong in them."""
    if options.needs_config:
        config = load_config(options.config)
        require_account(config)
        return config
    return parse_config("", base=Path.cwd())


def _loop_factory(
    options: argparse.Namespace,
) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the fastest event loop there is here; None for that of the standard library.

    Where what is freed is overwritten it is the latter: the faster one reads into a buffer that is never freed.
    """
    if getattr(options, "role", None) == ProcessRole.INTAKE:
        return None
    try:
        import uvloop  # noqa: PLC0415  # absent where it was not built
    except ImportError:
        return None
    return uvloop.new_event_loop
