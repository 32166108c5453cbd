"""Invented contacts of invented customers, signed as Standard Webhooks."""

import base64
import hmac
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.archives import SOURCE
from bench.wire import request


def customer_phone(number: int) -> str:
    """Return the telephone of an invented customer."""
    return f"+35840{number:07d}"


def customer_number(number: int) -> str:
    """Return the customer number of an invented customer."""
    return f"A{number:08d}"


def write_customers(path: Path, count: int) -> None:
    """Write a customer register of ``count`` people, each with a telephone, an address and a metering point."""
    with path.open("x", encoding="utf-8") as file:
        file.write("customer_number,name,phone,email,language,metering_point,occupied_from\n")
        for n in range(count):
            file.write(
                f"{customer_number(n)},Testi Asiakas {n},{customer_phone(n)},asiakas{n}@example.org,"
                f"fi,6430000000{n:08d},2020-01-01\n"
            )


def contact_json(source_id: str, customer: int) -> bytes:
    """Return a call of a customer with an agent."""
    return msgspec.json.encode(
        {
            "source_id": source_id,
            "channel": "call",
            "direction": "inbound",
            "started_at": "2026-11-20T14:02:11.250+02:00",
            "ended_at": "2026-11-20T14:09:40.750+02:00",
            "queue": "laskutus",
            "parties": [
                {
                    "role": "customer",
                    "phone": customer_phone(customer),
                    "name": f"Testi Asiakas {customer}",
                },
                {
                    "role": "agent",
                    "phone": "+358 9 555 0100",
                    "name": "Aku Asiakaspalvelija",
                    "agent_id": f"agent-{customer % 97}",
                },
            ],
            "recording": "none",
        }
    )


def signed(
    secret: bytes, count: int, *, customers: int, path: str = f"/intake/{SOURCE}"
) -> list[bytes]:
    """Return ``count`` requests, each a delivery of a contact of its own, made beforehand."""
    run, stamp = os.urandom(8).hex(), str(int(time.time()))
    return list(_signed(secret, count, customers=customers, path=path, run=run, stamp=stamp))


def _signed(
    secret: bytes, count: int, *, customers: int, path: str, run: str, stamp: str
) -> Iterator[bytes]:
    for n in range(count):
        ident = f"msg_{run}_{n}"
        body = contact_json(f"call-{run}-{n}", (n * 7919) % customers)
        mac = hmac.digest(secret, f"{ident}.{stamp}.".encode() + body, "sha256")
        headers = {
            "webhook-id": ident,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
            "Content-Type": "application/json",
        }
        yield request("POST", path, headers, body)


def redirected(requests: list[bytes], path: str) -> list[bytes]:
    """Return the same requests to another path."""
    before = f"POST /intake/{SOURCE} ".encode()
    after = f"POST {path} ".encode()
    return [after + one.removeprefix(before) for one in requests]
