"""The service as a process that only takes deliveries in: kept, acknowledged, understood by nobody here."""

import asyncio
import sys
from pathlib import Path

import uvloop

from service.archive.receive import Kept
from service.cli.tuning import tune
from service.config import Config, load_config
from service.http.server import listening
from service.intake.app_keys import OFFER
from service.serving import build_service
from service.wiring import opened_archive


async def serve(config: Config) -> None:
    """Serve until terminated."""
    async with opened_archive(config) as archive:
        service = build_service(archive)
        service.app[OFFER] = _leave
        async with listening(service.app, "127.0.0.1", 0) as (host, port):
            tune()
            print(f"Intake is at http://{host}:{port}", flush=True)
            await asyncio.Event().wait()


def _leave(_: Kept) -> None:
    """Leave it to whoever holds the keys."""


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(load_config(Path(sys.argv[1]))))
