"""``taltio witness create|watch|serve``: somebody else's machine vouches that a log has only grown."""

import argparse
import asyncio
import logging
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from service.config import Config
from service.config.addresses import ADDRESS
from service.config.problems import ValueRefusedError
from service.config.values import Context
from service.domain.errors import InvalidInputError
from service.http.server import listening
from service.http.tls import server_tls
from service.wiring import held_by_witness
from service.witness.cosigning import Witness
from service.witness.places import WitnessPlaces, parse_log_key
from service.witness.server import build_witness

_SHUTDOWN_SECONDS = 10.0


async def create(_: Config, options: argparse.Namespace) -> int:
    """Make a witness and print its verifier key, which the archive's settings need."""
    key = WitnessPlaces(options.directory).create(options.name)
    print(key.format())
    return 0


async def watch(_: Config, options: argparse.Namespace) -> int:
    """Let the witness cosign for one more log."""
    try:
        text = options.key.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{options.key} cannot be read as a verifier key") from error
    key = parse_log_key(text)
    WitnessPlaces(options.directory).watch(key)
    print(f"Watching {key.name} with the key {key.key_id.hex()}.")
    return 0


async def serve(_: Config, options: argparse.Namespace) -> int:
    """Cosign until a signal asks to stop."""
    logging.basicConfig(
        stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        address = ADDRESS.read(options.listen, Context(Path.cwd()))
    except ValueRefusedError as error:
        raise InvalidInputError(f"--listen: {error}") from error
    if not (address.is_loopback or options.certificate):
        raise InvalidInputError(
            f"{address} would speak plain HTTP to the network; give --certificate and --certificate-key, or listen on"
            " loopback behind a proxy"
        )
    tls = server_tls(options.certificate, options.certificate_key)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    places = WitnessPlaces(options.directory)
    with held_by_witness(places.directory):
        name, key = places.load()
        app = build_witness(Witness(places, name, key), lambda: datetime.now(UTC))
        try:
            async with listening(
                app, address.host, address.port, tls=tls, shutdown_seconds=_SHUTDOWN_SECONDS
            ) as (host, port):
                shown = f"[{host}]" if ":" in host else host
                scheme = "https" if tls else "http"
                print(f"The witness {name} is at {scheme}://{shown}:{port}", flush=True)
                await stop.wait()
        except OSError as error:
            raise InvalidInputError(f"cannot listen on {address}: {error.strerror}") from error
    return 0
