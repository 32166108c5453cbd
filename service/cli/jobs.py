"""``taltio jobs list|retry``."""

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from service.archive.jobs import Jobs
from service.config import Config
from service.domain.actor import OPERATOR, Role
from service.domain.times import format_time
from service.wiring import opened_archive

_OPERATOR: Final = replace(OPERATOR, roles=frozenset({Role.ADMIN}))


async def list_jobs(config: Config, _: argparse.Namespace) -> int:
    """Print a line for each job: id, kind, subject, state, attempts, when it is due, its last error."""
    async with opened_archive(config) as archive:
        for job in await Jobs(archive.stores.store).find(actor=_OPERATOR):
            due = format_time(job.run_at)
            error = job.last_error or "-"
            print(job.id, job.kind, job.subject, job.state, job.attempts, due, error, sep="\t")
    return 0


async def retry(config: Config, options: argparse.Namespace) -> int:
    """Let a job that failed for good begin anew."""
    async with opened_archive(config) as archive:
        job = await Jobs(archive.stores.store).retry(
            options.id, actor=_OPERATOR, now=datetime.now(UTC)
        )
    print(f"{job.id} will be tried again.")
    return 0
