"""The content store: what emails say and to whom, beside the log, and deleted from nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from adapters.content_codec import decode_content, digests_in, encode_content
from adapters.sql import tables
from adapters.sql.dialect import Insert, Sql
from adapters.sql.engine import Rows, Session
from application.recorded import StoredContent

CONTENTS = Sql("SELECT email_id, content, blobs FROM contents WHERE email_id = ANY(:email_ids)")
BLOBS = Sql("""
    SELECT digest, data FROM blobs
    WHERE digest IN (SELECT digest FROM content_blobs WHERE email_id = ANY(:email_ids))
""")
# Whoever holds a blob's row keeps `erase` from deleting it before the reference to it is there to be seen.
HOLD_BLOBS = Sql("SELECT digest FROM blobs WHERE digest = ANY(:digests) ORDER BY digest FOR KEY SHARE")
# In one go and in this order, as `store` holds them: two that share several blobs don't wait in a circle.
LOCK_BLOBS = Sql("""
    SELECT digest FROM blobs
    WHERE digest IN (SELECT digest FROM content_blobs WHERE email_id = ANY(:email_ids))
    ORDER BY digest FOR UPDATE
""")
FORGET = Sql("DELETE FROM contents WHERE email_id = ANY(:email_ids)")
FORGET_BLOBS = Sql("DELETE FROM content_blobs WHERE email_id = ANY(:email_ids)")
SWEEP = Sql("""
    DELETE FROM blobs WHERE digest = ANY(:digests)
    AND NOT EXISTS (SELECT 1 FROM content_blobs WHERE content_blobs.digest = blobs.digest)
""")
KEPT = Sql("SELECT email_id FROM contents WHERE email_id = ANY(:email_ids)")
# The lengths alone: neither database reads the data for them.
ATTACHED = Sql("""
    SELECT c.email_id, CAST(sum(length(b.data)) AS bigint)
    FROM content_blobs c JOIN blobs b ON b.digest = c.digest
    WHERE c.email_id = ANY(:email_ids) GROUP BY c.email_id
""")
INSERT = Insert.into(tables.contents, "UPSERT")
INSERT_BLOBS = Insert.into(tables.blobs, "UPSERT")
REFER = Insert.into(tables.content_blobs, "DO NOTHING")


def store(session: Session, contents: Iterable[StoredContent]) -> None:
    """Keep the contents. Raises ValueError for text that no database takes."""
    rows: Rows = []
    references: Rows = []
    data: dict[str, bytes] = {}
    for one in contents:
        text, blobs = encode_content(one)
        rows.append((one.email_id, one.key, len(blobs), text))
        if blobs:
            references += [(one.email_id, digest) for digest, _ in blobs]
            data.update(blobs)
    session.insert(INSERT, sorted(rows))
    if data:
        held = {row[0] for row in session.rows(HOLD_BLOBS, digests=sorted(data))}
        for digest in sorted(data.keys() - held):
            session.insert(INSERT_BLOBS, [(digest, data[digest])])  # one by one: each may be 40 MB
        session.insert(REFER, sorted(references))


def read(session: Session, email_ids: Collection[str]) -> dict[str, StoredContent]:
    """What there is of these emails. One that is being erased is there as a whole or not at all."""
    if not email_ids:
        return {}
    rows = session.rows(CONTENTS, email_ids=list(email_ids))
    with_blobs = [row[0] for row in rows if row[2]]
    blobs: dict[str, bytes] = {}
    if with_blobs:
        blobs.update((row[0], row[1]) for row in session.rows(BLOBS, email_ids=with_blobs))
    return {
        email_id: decode_content(email_id, text, blobs)
        for email_id, text, count in rows
        if not count or all(digest in blobs for digest in digests_in(text))
    }


def kept(session: Session, email_ids: Collection[str]) -> frozenset[str]:
    """Those of the emails whose content is there."""
    return frozenset(row[0] for row in session.rows(KEPT, email_ids=list(email_ids)))


def attached(session: Session, email_ids: Collection[str]) -> dict[str, int]:
    """How many octets are attached to each of these emails; those without attachments are left out."""
    return dict(session.rows(ATTACHED, email_ids=list(email_ids)))


def erase(session: Session, email_ids: Collection[str]) -> int:
    """Delete these emails' content, and the blobs that nobody else refers to; how many had some left.

    The caller holds the rows of the emails.
    """
    ids = sorted(email_ids)
    digests = [row[0] for row in session.rows(LOCK_BLOBS, email_ids=ids)]
    erased = session.run(FORGET, email_ids=ids)
    if digests:
        session.run(FORGET_BLOBS, email_ids=ids)
        session.run(SWEEP, digests=digests)
    return erased
