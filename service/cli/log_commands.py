"""``taltio log proof ENTRY`` and ``taltio log verify DIR``: on exported files alone, without archive or keys."""

import argparse
import sys

from service.cli.log_files import (
    Trusted,
    Verdict,
    prove_from_directory,
    verify_log_directory,
    verify_proof_files,
)
from service.cli.progress import Progress
from service.config import Config
from service.domain.errors import InvalidInputError


async def verify(_: Config, options: argparse.Namespace) -> int:
    """Check an exported log, or one proof: 0 verified, 1 altered, 2 could not be checked."""
    if options.proof is not None:
        if options.key is None:
            raise InvalidInputError(
                "a proof is checked with --key, a verifier key that you trust"
            )
        files = options.directory, options.proof, options.key
        return _tell(verify_proof_files(*files, witnesses=options.witness))
    trusted = Trusted(options.key, options.witness, options.timestamps)
    return _tell(
        verify_log_directory(
            options.directory, trusted=trusted, on_progress=Progress("log entries")
        )
    )


async def prove(config: Config, options: argparse.Namespace) -> int:
    """Write an entry and its proof, made from the published log."""
    directory = options.log or config.archive.directory / "log"
    entry, proof = prove_from_directory(directory, options.entry)
    out = options.out
    entry_file, proof_file = out / f"{options.entry}.json", out / f"{options.entry}.tlog-proof"
    try:
        out.mkdir(parents=True, exist_ok=True)
        entry_file.write_bytes(entry)
        proof_file.write_bytes(proof)
    except OSError as error:
        raise InvalidInputError(f"nothing can be written to {out}: {error.strerror}") from error
    print(entry_file)
    print(proof_file)
    return 0


def _tell(verdict: Verdict) -> int:
    for line in verdict.lines:
        print(line, file=sys.stdout)
    return int(verdict.outcome)
