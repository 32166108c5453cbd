"""What others say of an exported log: who cosigned which state of it, and who stamped it when."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.log.checkpoint import decode_checkpoint, find_cosignatures
from service.log.errors import FormatError, SignatureError, UnknownSignerError
from service.log.note import VerifierKey
from service.log.report import Findings
from service.log.timestamp import Timestamp, Trust, verify_timestamp

Named = tuple[str, bytes]
"""A file of the export: its name and its bytes."""


@dataclass(slots=True)
class Vouching:
    """Gathers what is wrong with it in ``findings``, and what was found to be good in ``lines``, as sentences.

    ``last_stamp`` is the name of the good timestamp of the largest state, and what it says.
    """

    findings: Findings
    lines: list[str] = field(default_factory=list)
    last_stamp: tuple[str, Timestamp] | None = None

    def by_witness(self, key: VerifierKey, notes: Sequence[Named]) -> None:
        """Check the cosignatures by ``key`` on the checkpoints ``notes``; there has to be one.

        Raises:
            LimitReachedError: There are enough findings.
        """
        best, is_claimed = None, False
        for name, note in notes:
            try:
                found = find_cosignatures(note, [key])
                size = decode_checkpoint(note).size
            except SignatureError as error:
                is_claimed = True
                self.findings.altered(name, str(error))
                continue
            except FormatError:
                # Checkpoints that are malformed were found when the log was compared with them.
                continue
            for one in found:
                best = max(best or (size, one.at), (size, one.at))
        if best is not None:
            size, at = best
            self.lines.append(
                f"Cosigned by the witness {key.name}: {size} entries, at {at:%Y-%m-%d %H:%M:%S} UTC."
            )
        elif not is_claimed:
            why = "No checkpoint here bears a cosignature by this key."
            self.findings.unchecked(f"the witness {key.name}", why)

    def by_authority(self, trust: Trust, stamps: Sequence[tuple[str, bytes, bytes]]) -> None:
        """Check every timestamp: its name, the bytes that it stamps, and the timestamp; there has to be one.

        Raises:
            LimitReachedError: There are enough findings.
        """
        good: list[tuple[int, str, Timestamp]] = []
        for name, note, answer in stamps:
            try:
                stamped = verify_timestamp(answer, note, trust)
                good.append((decode_checkpoint(note).size, name, stamped))
            except FormatError as error:
                self.findings.altered(name, error.detail)
            except SignatureError as error:
                self.findings.altered(name, str(error))
            except UnknownSignerError as error:
                self.findings.unchecked(name, str(error))
        if not stamps:
            self.findings.unchecked("timestamps", "There are none.")
        if good:
            size, name, last = max(good, key=lambda one: one[0])
            self.last_stamp = name, last
            self.lines.append(
                f"Timestamps by {last.authority}: {len(good)}, the last of {size} entries at"
                f" {last.at:%Y-%m-%d %H:%M:%S} UTC."
            )
