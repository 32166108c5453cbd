"""The verdict over a recording: what its claims and its sound, side by side, amount to."""

from datetime import timedelta
from fractions import Fraction

from service.worker.media.facts import MediaFacts, MediaFlag

_TOLERANCE = Fraction(1, 2)
_TOLERANCE_SHARE = Fraction(1, 50)
_PLAYABLE = frozenset(
    {
        ("flac", "flac"),
        ("mp3", "mp3"),
        ("mp4", "aac"),
        ("ogg", "opus"),
        ("ogg", "vorbis"),
        ("wav", "pcm_f32le"),
        ("wav", "pcm_s16le"),
        ("wav", "pcm_s24le"),
        ("wav", "pcm_u8"),
        ("webm", "opus"),
        ("webm", "vorbis"),
    }
)
_SILENT = frozenset({"codec_unsupported", "time_stamp_gaps"})
"""Parts of the sound are missing, or nobody here decodes them: they are silent."""
_SPOILS_PLAYING = frozenset(MediaFlag) - {MediaFlag.GAPS}


def decide_facts(
    *,
    container: str,
    codec: str,
    channels: int,
    sample_rate_hz: int,
    seconds: Fraction,
    claimed: Fraction | None,
    problems: frozenset[str],
    is_truncated: bool,
    is_complete: bool,
) -> MediaFacts:
    """Decide what to say about a recording that a decoder went through.

    ``is_truncated`` comes from the container's structure; ``is_complete`` says that decoding
    did not stop at a limit. A claim may differ from the sound by half a second or 2 %, for
    encoders pad, before it counts as a lie.
    """
    flags = set()
    if problems - _SILENT:
        flags.add(MediaFlag.MALFORMED)
    if problems & _SILENT:
        flags.add(MediaFlag.GAPS)
    if is_truncated:
        flags.add(MediaFlag.TRUNCATED)
    if not is_complete:
        flags.add(MediaFlag.LIMIT_REACHED)
    elif claimed is not None and _differ(claimed, seconds):
        flags.add(MediaFlag.HEADER_LIES)
        if claimed > seconds:
            flags.add(MediaFlag.TRUNCATED)
    if not seconds:
        is_damaged = bool(problems & {"container_damaged", "sound_damaged"})
        flags.add(MediaFlag.UNREADABLE if is_damaged else MediaFlag.EMPTY)
    # Without a stated length a browser can neither show nor seek what it has not yet fetched.
    has_length = container != "webm" or claimed is not None
    is_sound = has_length and flags.isdisjoint(_SPOILS_PLAYING)
    return MediaFacts(
        container=container,
        codec=codec,
        channels=channels,
        sample_rate_hz=sample_rate_hz,
        duration=_timedelta(seconds),
        claimed_duration=None if claimed is None else _timedelta(claimed),
        flags=frozenset(flags),
        problems=tuple(sorted(problems)),
        is_browser_playable=is_sound and (container, codec) in _PLAYABLE,
    )


def _differ(claimed: Fraction, seconds: Fraction) -> bool:
    return abs(claimed - seconds) > max(_TOLERANCE, seconds * _TOLERANCE_SHARE)


def _timedelta(seconds: Fraction) -> timedelta:
    # A claim can be longer than any duration there is.
    longest = timedelta.max // timedelta(microseconds=1)
    return timedelta(microseconds=min(round(seconds * 1_000_000), longest))
