"""Cosigning: what is remembered, what is decided, and in which order it is written."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.log.checkpoint import Checkpoint, cosign_checkpoint, decode_checkpoint
from service.log.errors import ProofError
from service.log.note import KeyKind, VerifierKey
from service.log.witness import (
    AddCheckpoint,
    OtherSizeError,
    cosignature_lines,
    decode_request,
    require_consistent,
    without_cosignatures,
)
from service.witness.places import Kept, WitnessPlaces

_log: Final = logging.getLogger("taltio.witness")


@dataclass(frozen=True, slots=True)
class Witness:
    """One witness. Blocking: call from a thread; calls at once take turns.

    One process at a time has the directory of a witness.
    """

    places: WitnessPlaces
    name: str
    key: Ed25519PrivateKey = field(repr=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def verifier_key(self) -> VerifierKey:
        """The key that verifies what is cosigned here."""
        return VerifierKey(
            self.name, self.key.public_key().public_bytes_raw(), KeyKind.COSIGNATURE
        )

    def cosign(self, body: bytes, *, clock: Callable[[], datetime]) -> bytes:
        """Return the cosignature lines for the checkpoint in the request ``body``.

        The state is durable before the cosignature is made: a crash in between leaves a state that nobody saw a
        cosignature of, and the log asks again from there. It is written also when it stays the same, for what was read
        may be what a failed write left without being durable.

        Raises:
            FormatError: The request is malformed.
            UnknownLogError, UnknownSignerError, SignatureError: It is of a log that is not watched, or not by it.
            OtherSizeError: It does not start from what was cosigned last.
            ProofError: It does not continue what was cosigned last.
            UnavailableError: The state cannot be read.
            OSError: It cannot be written. Nothing was cosigned.
        """
        request = decode_request(body)
        logs = self.places.logs()
        with self._turn:
            kept = self.places.state()
            origin = decode_checkpoint(request.checkpoint).origin
            note = kept.checkpoints.get(origin)
            last = None if note is None else decode_checkpoint(note.encode())
            try:
                checkpoint = require_consistent(request, logs=logs, last=last)
            except ProofError as error:
                self._tell(error, request, last, note)
                raise
            signed = _without_others(request, logs)
            checkpoints = {**kept.checkpoints, checkpoint.origin: signed.decode()}
            self.places.keep(Kept(kept.version, checkpoints))
            cosigned = cosign_checkpoint(signed, name=self.name, key=self.key, now=clock())
        return cosignature_lines(cosigned, self.verifier_key)

    def _tell(
        self,
        error: ProofError,
        request: AddCheckpoint,
        last: Checkpoint | None,
        note: str | None,
    ) -> None:
        """Tell the operator of a request that does not fit; keep two histories of one size as evidence."""
        asked = decode_checkpoint(request.checkpoint)
        known = 0 if last is None else last.size
        about = {"origin": asked.origin, "size": asked.size, "known_size": known}
        if last is None or note is None or asked.size != known or asked.root == last.root:
            if not isinstance(error, OtherSizeError):
                _log.error("witness.inconsistent", extra=about)
            elif asked.size < known:
                _log.error("witness.smaller_log", extra=about)
            return
        _log.error("witness.two_histories", extra=about)
        for one in (note.encode(), request.checkpoint):
            self.places.keep_conflict(sha256(one).hexdigest()[:32], one)


def _without_others(request: AddCheckpoint, logs: tuple[VerifierKey, ...]) -> bytes:
    # Kept and cosigned is what the log signed; a stranger's lines would only make the state large.
    origin = decode_checkpoint(request.checkpoint).origin
    key = next(one for one in logs if one.name == origin)
    return without_cosignatures(request.checkpoint, key)
