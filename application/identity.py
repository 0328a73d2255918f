"""Ids: of an email, derived from the client's own id for it, and digests that say nothing without their salt."""

from __future__ import annotations

import hashlib
import re

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
DIGEST_PREFIX = "sha256:"
VARIANTS = {f"{digit:x}": f"{0b1000 | digit & 0b0011:x}" for digit in range(16)}
"""A hexadecimal digit with the two bits that mark an RFC 9562 UUID."""


def email_id_of(tenant: str, key: str) -> str:
    """The email that a tenant's key stands for, a UUIDv8 (RFC 9562 §5.8): the same key, the same stream.

    The event store's expected version then decides which of several requests with one key comes first.
    """
    digits = hashlib.sha256(f"{tenant}\0{key}".encode()).hexdigest()
    variant = VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def candidates(ref: str, tenant: str = "") -> tuple[str, ...]:
    """The email ids that a reference may mean: ours first, so that no client's id can hide another email."""
    derived = email_id_of(tenant, ref)
    return (ref, derived) if UUID.fullmatch(ref) else (derived,)


def salted(salt: bytes, data: bytes) -> str:
    """A digest that can be checked only by whoever has the salt."""
    return hashlib.sha256(salt + data).hexdigest()


def key_for_the_log(salt: bytes, key: str) -> str:
    """The key as events show it: one that may be an address only as a digest."""
    return DIGEST_PREFIX + salted(salt, key.encode()) if "@" in key else key
