"""The child process: the only one that loads the token's module, and logs in.

It is started anew, never forked, because a module must not be used across a fork (PKCS#11 v3.1, section 5.6.1). A
module that hangs, crashes or writes to places of its own harms nobody but this process; its parent kills it.
"""

import ctypes
import os
import signal
import socket
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from service.keys.pkcs11.wire import Fault, GoneError, receive, send

_PR_SET_DUMPABLE: Final = 4
_KEY_BITS: Final = 256
_ID_BYTES: Final = 16
_TAG_BITS: Final = 128
_PROBE: Final = b"taltio.probe"

_Handle = Any
"""What python-pkcs11 gives. Its type hints lack what keys can do, and its compiled half has none."""


class _FaultError(Exception):
    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(fault)
        self.fault = fault
        self.detail = detail


def main() -> None:
    """Answer the parent until it closes its end."""
    if sys.platform == "linux":
        # No process of the same user may read the PIN or a key from this memory (prctl(2), PR_SET_DUMPABLE).
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    end = socket.socket(fileno=os.dup(0))
    end.settimeout(None)
    desk: _Desk | None = None
    while True:
        try:
            message = receive(end)
        except GoneError:
            # Without the module's own clean-up, which may hang.
            os._exit(0)
        # If the parent is not there any more to do it: a hanging module ends with its process.
        signal.setitimer(signal.ITIMER_REAL, float(str(message.get("seconds", 60))) + 5)
        try:
            if desk is None:
                desk = _Desk(message)
                answer: dict[str, object] = desk.told
            else:
                answer = desk.do(message)
        except _FaultError as error:
            answer = {"fault": error.fault, "detail": error.detail}
        except Exception as error:  # noqa: BLE001  # whatever a module brings forth is an answer, by its name alone
            answer = {"fault": Fault.AWAY, "detail": type(error).__name__}
        signal.setitimer(signal.ITIMER_REAL, 0)
        with suppress(GoneError):
            send(end, answer)
        if desk is None:
            os._exit(0)


class _Desk:
    """A session that is logged in, and the key in it."""

    def __init__(self, order: Mapping[str, object]) -> None:
        try:
            import pkcs11  # noqa: PLC0415  # an optional extra
        except ModuleNotFoundError:
            raise _FaultError(Fault.LIBRARY) from None
        self._p = pkcs11
        self._label = str(order["key"])
        self._token = self._find_token(_loaded(pkcs11, str(order["module"])), order)
        self._session = self._log_in(order)
        made = bool(order.get("make")) and not self._keys()
        if made:
            self._make_key()
        key = self._key()
        self.told: dict[str, object] = {
            "key_id": bytes(key[pkcs11.Attribute.ID]).hex(),
            "made": made,
            "serial": bytes(self._token.serial).decode("ascii", "replace").strip(),
            "model": str(self._token.model).strip(),
        }

    def do(self, message: Mapping[str, object]) -> dict[str, object]:
        """Seal or open what the parent gives."""
        data, nonce, aad = (b64decode(str(message[name])) for name in ("data", "nonce", "aad"))
        key = self._key()
        if bytes(key[self._p.Attribute.ID]).hex() != message["key_id"]:
            raise _FaultError(Fault.AWAY, "another key")
        if message["do"] == "seal":
            return {"data": b64encode(self._seal(key, data, nonce, aad)).decode()}
        try:
            opened = self._open(key, data, nonce, aad)
        except self._p.PKCS11Error:
            # Modules name a wrong tag each in their own way. What the token sealed a moment ago, it has to open.
            nonce = os.urandom(len(nonce))
            if self._open(key, self._seal(key, _PROBE, nonce, aad), nonce, aad) != _PROBE:
                raise
            raise _FaultError(Fault.SEALED) from None
        return {"data": b64encode(opened).decode()}

    def _seal(self, key: _Handle, data: bytes, nonce: bytes, aad: bytes) -> bytes:
        return bytes(key.encrypt(data, **self._gcm(nonce, aad)))

    def _open(self, key: _Handle, data: bytes, nonce: bytes, aad: bytes) -> bytes:
        return bytes(key.decrypt(data, **self._gcm(nonce, aad)))

    def _gcm(self, nonce: bytes, aad: bytes) -> dict[str, object]:
        return {
            "mechanism": self._p.Mechanism.AES_GCM,
            "mechanism_param": self._p.GCMParams(nonce, aad, _TAG_BITS),
        }

    def _find_token(self, library: _Handle, order: Mapping[str, object]) -> _Handle:
        found = []
        for slot in library.get_slots(token_present=True):
            # A slot that fails is another token's trouble.
            with suppress(self._p.PKCS11Error):
                token = slot.get_token()
                if token.label == order["token"]:
                    found.append(token)
        if not found:
            raise _FaultError(Fault.ABSENT)
        if len(found) > 1:
            raise _FaultError(Fault.SEVERAL_TOKENS)
        return found[0]

    def _log_in(self, order: Mapping[str, object]) -> _Handle:
        flags = self._token.flags
        if flags & self._p.TokenFlag.USER_PIN_LOCKED:
            raise _FaultError(Fault.PIN_LOCKED)
        if flags & self._p.TokenFlag.USER_PIN_FINAL_TRY and not order.get("asked"):
            raise _FaultError(Fault.PIN_LAST_TRY)
        wrong = (
            self._p.exceptions.PinIncorrect,
            self._p.exceptions.PinInvalid,
            self._p.exceptions.PinLenRange,
        )
        try:
            return self._token.open(rw=bool(order.get("make")), user_pin=str(order["pin"]))
        except self._p.exceptions.PinLocked:
            raise _FaultError(Fault.PIN_LOCKED) from None
        except wrong:
            raise _FaultError(Fault.PIN) from None

    def _keys(self) -> list[_Handle]:
        wanted = {
            self._p.Attribute.CLASS: self._p.ObjectClass.SECRET_KEY,
            self._p.Attribute.LABEL: self._label,
        }
        return list(self._session.get_objects(wanted))

    def _key(self) -> _Handle:
        """Return the key, looked for each time: one that was deleted is not used from memory."""
        found = self._keys()
        if not found:
            raise _FaultError(Fault.NO_KEY)
        if len(found) > 1:
            raise _FaultError(Fault.SEVERAL_KEYS)
        key, attribute = found[0], self._p.Attribute
        is_fit = (
            key[attribute.KEY_TYPE] == self._p.KeyType.AES
            and key[attribute.VALUE_LEN] * 8 == _KEY_BITS
            and key[attribute.SENSITIVE]
            and not key[attribute.EXTRACTABLE]
            and len(key[attribute.ID]) > 0
        )
        if not is_fit:
            raise _FaultError(Fault.UNFIT_KEY)
        return found[0]

    def _make_key(self) -> None:
        attribute = self._p.Attribute
        no = ("EXTRACTABLE", "WRAP", "UNWRAP", "SIGN", "VERIFY", "DERIVE", "MODIFIABLE")
        yes = ("SENSITIVE", "PRIVATE", "ENCRYPT", "DECRYPT")
        template = {getattr(attribute, name): name in yes for name in (*no, *yes)}
        try:
            self._session.generate_key(
                self._p.KeyType.AES,
                _KEY_BITS,
                id=os.urandom(_ID_BYTES),
                label=self._label,
                store=True,
                template=template,
            )
        except (
            self._p.exceptions.MechanismInvalid,
            self._p.exceptions.TemplateInconsistent,
            self._p.exceptions.AttributeTypeInvalid,
            self._p.exceptions.AttributeValueInvalid,
        ) as error:
            raise _FaultError(Fault.UNSUPPORTED, type(error).__name__) from None


def _loaded(library: _Handle, module: str) -> _Handle:
    try:
        return library.lib(module)
    except Exception as error:  # noqa: BLE001  # what a library fails to load with is not documented
        raise _FaultError(Fault.MODULE, type(error).__name__) from None
