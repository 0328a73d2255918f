"""Ids of emails: the same for the same key, of the standard's form, and found by either name."""

from __future__ import annotations

import uuid

import pytest

from application.identity import candidates, email_id_of, key_for_the_log


@pytest.mark.parametrize("key", ["order-1", "a@example.org", " ", "x" * 256, "0192-not-a-uuid"])
def test_an_email_id_is_a_uuid_of_version_8(key: str) -> None:
    """RFC 9562 §5.8, with the variant's bits where they belong."""
    made = uuid.UUID(email_id_of("", key))

    assert 8 == made.version
    assert uuid.RFC_4122 == made.variant
    assert email_id_of("", key) == str(made)


def test_ids_do_not_change() -> None:
    """Streams are named by them: what was recorded long ago is found again."""
    assert "0bda7854-388b-8fac-ad7f-5e13705f32f1" == email_id_of("", "order-4711")


def test_tenants_do_not_share_keys() -> None:
    """The same key of two tenants is two emails, and no concatenation makes one of them the other."""
    assert 3 == len({email_id_of("a", "bc"), email_id_of("ab", "c"), email_id_of("", "abc")})


def test_a_reference_may_be_the_clients_id_or_ours() -> None:
    """A UUID can be both; ours is looked at first, or a client's id could hide another email."""
    ours = email_id_of("", "order-1")

    assert (ours,) == candidates("order-1")
    assert (ours, email_id_of("", ours)) == candidates(ours)


def test_a_key_that_may_be_an_address_is_not_in_the_log() -> None:
    """It is a digest there, and another one for another salt."""
    one, other = (key_for_the_log(salt, "ann@example.org") for salt in (b"1", b"2"))

    assert one.startswith("sha256:")
    assert one != other
    assert "order-1" == key_for_the_log(b"1", "order-1")
