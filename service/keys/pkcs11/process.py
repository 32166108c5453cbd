"""The parent's side of a token: a child process that is asked, given so long to answer, and killed when it does not."""

import importlib.util
import os
import socket
import subprocess
import sys
import threading
import weakref
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import service
from service.keys.errors import KeysRefusedError, KeysUnavailableError
from service.keys.pkcs11.pin import PIN_VARIABLE, PinGuard, PinSource
from service.keys.pkcs11.wire import Fault, GoneError, receive, send

_BOOT: Final = (
    "import sys; sys.path += sys.argv[1:]; from service.keys.pkcs11.child import main; main()"
)
_OURS: Final = (PIN_VARIABLE, "AWS_", "PG")
"""Secrets for others than the module begin so in the environment."""
_OTHERS_WRITE: Final = 0o022
_KILL_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Which module, which token of it, and which key on that; by labels, for slots change their numbers."""

    module: Path
    token: str
    key: str


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What the token said of itself. ``key_id`` tells keys of one label apart (CKA_ID, in hexadecimal)."""

    key_id: str
    serial: str
    model: str
    is_new: bool


class Token:
    """A token's key, which seals and opens. Threads may share it; the one waits for the other.

    Every call may raise:
        KeysUnavailableError: The token does not answer, or not in time, or its session was lost twice.
        KeysRefusedError: It cannot be used as it is; the message says what to do.
    """

    __slots__ = ("_child", "_facts", "_guard", "_lock", "_pin", "_place", "_wait")

    def __init__(
        self, place: TokenPlace, *, pin: PinSource, guard: PinGuard, wait: timedelta
    ) -> None:
        """Start nothing yet. Each answer may take ``wait``."""
        self._place, self._pin, self._guard = place, pin, guard
        self._wait = wait.total_seconds()
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._facts: TokenFacts | None = None

    def facts(self) -> TokenFacts:
        """Return what the token says of itself."""
        with self._lock:
            return self._begun()

    def begin_by_hand(self, *, make: bool) -> TokenFacts:
        """Log in because a person asks for it, also with a PIN that was refused before.

        ``make``: where the token has no such key, make it.
        """
        with self._lock:
            self._end()
            facts = self._begin(make=make, is_asked=True)
            # A session that may write is not kept.
            self._end()
            return facts

    def seal(self, data: bytes, *, key_id: str, nonce: bytes, aad: bytes) -> bytes:
        """Return ``data`` sealed with AES-256-GCM under the token's key. The nonce must be new."""
        return self._ask("seal", key_id, data, nonce, aad)

    def open(self, sealed: bytes, *, key_id: str, nonce: bytes, aad: bytes) -> bytes:
        """Return what was sealed; raises ``KeysRefusedError`` as well where it does not authenticate."""
        return self._ask("open", key_id, sealed, nonce, aad)

    def close(self) -> None:
        """End the child. The next call starts another one."""
        with self._lock:
            self._end()

    def _ask(self, do: str, key_id: str, data: bytes, nonce: bytes, aad: bytes) -> bytes:
        with self._lock:
            is_new = self._child is None
            try:
                return self._ask_once(do, key_id, data, nonce, aad)
            except KeysUnavailableError:
                # A session that was lost since, or a token that was taken out and put back: once more, from the start.
                if is_new or self._child is not None:
                    raise
            return self._ask_once(do, key_id, data, nonce, aad)

    def _ask_once(self, do: str, key_id: str, data: bytes, nonce: bytes, aad: bytes) -> bytes:
        if self._begun().key_id != key_id:
            # What a session of before said; another token may have been put in since.
            self._end()
        facts = self._begun()
        if self._child is None or facts.key_id != key_id:
            raise KeysRefusedError(
                f"The key with the id {key_id} wrapped it, and the token's has the id {facts.key_id}. Bring back the"
                " token with the first, or restore the key directory that goes with this one."
            )
        texts = {"data": data, "nonce": nonce, "aad": aad}
        answer = self._answer(
            self._child,
            {
                "do": do,
                "key_id": key_id,
                "seconds": self._wait,
                **{name: b64encode(value).decode("ascii") for name, value in texts.items()},
            },
        )
        return b64decode(str(answer["data"]))

    def _begun(self) -> TokenFacts:
        if self._child is None or self._facts is None:
            return self._begin(make=False, is_asked=False)
        return self._facts

    def _begin(self, *, make: bool, is_asked: bool) -> TokenFacts:
        _require_trusted(self._place.module)
        pin = self._pin.read()
        if not is_asked:
            self._guard.require_not_refused(pin)
        child = self._child = _Child()
        order = {
            "module": str(self._place.module),
            "token": self._place.token,
            "key": self._place.key,
            "pin": pin,
            "make": make,
            "asked": is_asked,
            "seconds": self._wait,
        }
        answer = self._answer(child, order, on_fault=self._note_refused(pin))
        self._guard.forget()
        self._facts = TokenFacts(
            key_id=str(answer["key_id"]),
            serial=str(answer["serial"]),
            model=str(answer["model"]),
            is_new=bool(answer["made"]),
        )
        return self._facts

    def _note_refused(self, pin: str) -> Callable[[Fault], None]:
        def note(fault: Fault) -> None:
            if fault is Fault.PIN:
                self._guard.note_refused(pin)

        return note

    def _answer(
        self,
        child: "_Child",
        message: Mapping[str, object],
        on_fault: Callable[[Fault], None] = lambda _: None,
    ) -> Mapping[str, object]:
        try:
            answer = child.ask(message, within=self._wait)
        except TimeoutError:
            self._end()
            raise KeysUnavailableError(
                f"The token {self._place.token!r} gave no answer within {self._wait:g} s."
            ) from None
        except GoneError:
            self._end()
            raise KeysUnavailableError(
                f"The process that talks to the token {self._place.token!r} ended: the module may have crashed."
            ) from None
        if "fault" not in answer:
            return answer
        fault = Fault(str(answer["fault"]))
        on_fault(fault)
        if fault is not Fault.SEALED:
            self._end()
        raise self._error(fault, str(answer.get("detail", "")), is_begun="do" in message)

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._child = self._facts = None

    def _error(
        self, fault: Fault, detail: str, *, is_begun: bool
    ) -> KeysRefusedError | KeysUnavailableError:
        place = self._place
        away = {
            Fault.ABSENT: f"There is no token labelled {place.token!r} now ([keys] pkcs11_token).",
            Fault.AWAY: f"The token {place.token!r} failed ({detail}).",
        }
        if is_begun and fault is Fault.NO_KEY:
            # A session over a token that is gone finds nothing either; a new one will tell.
            return KeysUnavailableError(f"The token {place.token!r} does not show its key now.")
        if fault in away:
            return KeysUnavailableError(away[fault])
        return KeysRefusedError(
            _SENTENCES[fault].format(
                module=place.module, token=place.token, key=place.key, detail=detail
            )
        )


_SENTENCES: Final[Mapping[Fault, str]] = {
    Fault.LIBRARY: 'python-pkcs11 is not installed: see docs/operations.md, "Keys in a token".',
    Fault.MODULE: "{module} cannot be loaded ({detail}): [keys] pkcs11_module names the vendor's PKCS#11 library.",
    Fault.SEVERAL_TOKENS: "Several tokens are labelled {token!r}. Give this archive's a label of its own.",
    Fault.SEVERAL_KEYS: "The token {token!r} has several keys labelled {key!r}. Which one wraps the archive's keys"
    " cannot be guessed: rename the others.",
    Fault.NO_KEY: "The token {token!r} has no secret key labelled {key!r}. If this is the right token and the"
    " archive is new, make it: taltio keys init. Otherwise bring the right token back: nobody opens the archive"
    " without its key.",
    Fault.UNFIT_KEY: "The key {key!r} on the token {token!r} is not fit: it has to be AES-256, sensitive, not"
    " extractable, and to have an id. Make one with taltio keys init, under another [keys] pkcs11_key.",
    Fault.UNSUPPORTED: "The token {token!r} does not make such a key ({detail}); make an AES-256 key labelled {key!r}"
    " with its own tools: sensitive, not extractable, to encrypt and decrypt, with an id.",
    Fault.PIN: "The token {token!r} refuses the PIN. It is not tried again until it is another one, so that the token"
    " does not lock itself. Correct it, or have it tried once more by hand: taltio keys init",
    Fault.PIN_LOCKED: "The PIN of the token {token!r} is locked. Unlock it with the token's own tools, as its security"
    " officer.",
    Fault.PIN_LAST_TRY: "One more wrong PIN locks the token {token!r}, so it was not tried. Make sure that it is right,"
    " and have it tried by hand: taltio keys init",
    Fault.SEALED: "It does not open with the key {key!r} of the token {token!r}: the file was altered, or another key"
    " wrapped it.",
}


class _Child:
    """A process that has loaded the module, and the socket to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603  # our own program
                    # Isolated: no start-up file, working directory or variable for Python counts.
                    [sys.executable, "-I", "-S", "-B", "-c", _BOOT, *_places()],
                    stdin=theirs.fileno(),
                    # A module may print what it likes, and nobody has to read it.
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    # Modules find their configuration by variables of their vendors.
                    env={k: v for k, v in os.environ.items() if not k.startswith(_OURS)},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise KeysUnavailableError(
                    "No process could be started to talk to the token."
                ) from error
        self._socket = ours
        # Also for who forgets to close: no process stays behind.
        self._end = weakref.finalize(self, _kill, self._process, ours)

    def ask(self, message: Mapping[str, object], *, within: float) -> Mapping[str, object]:
        self._socket.settimeout(within)
        send(self._socket, message)
        return receive(self._socket, within=within)

    def kill(self) -> None:
        self._end()


def _kill(process: subprocess.Popen[bytes], end: socket.socket) -> None:
    end.close()
    # Also one that is stopped or hangs in its module ends by this.
    process.kill()
    # One that waits for its device in the kernel ends when that lets it go; nobody waits for it here.
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_KILL_SECONDS)


def _places() -> tuple[str, ...]:
    """Return where the child finds our code and python-pkcs11."""
    found = importlib.util.find_spec("pkcs11")
    if found is None or found.origin is None:
        raise KeysRefusedError(_SENTENCES[Fault.LIBRARY])
    return (str(Path(service.__file__).parents[1]), str(Path(found.origin).parents[1]))


def _require_trusted(module: Path) -> None:
    """Refuse a module that somebody else could have replaced: it sees the PIN and the keys."""
    try:
        found = module.stat()
    except OSError as error:
        raise KeysRefusedError(
            f"[keys] pkcs11_module: {module} cannot be read: {error.strerror}."
        ) from error
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & _OTHERS_WRITE:
        raise KeysRefusedError(
            f"{module} can be changed by other users, and it will see the PIN and the keys. Give it to root, mode 644."
        )
