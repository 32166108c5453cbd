"""The command line: what can be asked, and the exit codes."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from service.cli.commands import build_parser
from service.config import Config, ConfigError, load_config, parse_config
from service.domain.errors import ArchiveError, InvalidInputError
from storage.errors import StorageError

EXIT_FAILED: Final = 2
"""Not done. Verifying ends with 0 verified, 1 altered, 2 could not be checked; everything else with 0 or 2."""
EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks; return the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        config = _config(options)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return int(runner.run(options.run(config, options)))
    except ConfigError as error:
        print(error, file=sys.stderr)
    except InvalidInputError as error:
        print(f"taltio: {error.detail}", file=sys.stderr)
    except (ArchiveError, StorageError) as error:
        print(f"taltio: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_FAILED


def _config(options: argparse.Namespace) -> Config:
    """Return the settings; a command that needs none is not stopped by what is wrong in them."""
    if options.needs_config:
        return load_config(options.config)
    return parse_config("", base=Path.cwd())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the fastest event loop there is here; None for that of the standard library."""
    try:
        import uvloop  # noqa: PLC0415  # absent where it was not built
    except ImportError:
        return None
    return uvloop.new_event_loop
