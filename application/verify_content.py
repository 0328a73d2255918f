"""An email's content against what its first event says of it, as far as digests can tell."""

from __future__ import annotations

from collections.abc import Callable

from application.identity import email_id_of, key_for_the_log, salted
from application.recorded import StoredContent
from application.stored import ContentRow
from domain.email.events import Requested

Forms = Callable[[Requested, StoredContent], bytes | None]
"""The bytes that the digest of a request is over, put together again; None: that can't be done. Raises ValueError."""


def content_problem(requested: Requested, email_id: str, row: ContentRow, forms: Forms) -> str | None:
    """What is wrong with a content; None: nothing that shows. Says no values."""
    if row.named is None:
        return "it can't be read"
    if row.named != row.digests or row.blobs != len(row.named):
        return "it does not have the attachments that it names"
    stored = row.stored
    if stored is None:
        return "it can't be read"
    if stored.key != row.key or email_id_of(requested.tenant, row.key) != email_id:
        return "its key is not the one that the email's id comes from"
    if requested.key != key_for_the_log(stored.salt, stored.key):
        return "its key or salt is not that of its request"
    envelope = stored.content.envelope
    if tuple(one.domain for one in envelope) != requested.recipient_domains:
        return "its recipients are not those of its request"
    if stored.content.sender.domain != requested.sender_domain:
        return "its sender is not that of its request"
    try:
        form = forms(requested, stored)
    except ValueError:
        return "its marks can't be read"
    if form is not None and salted(stored.salt, form) != requested.digest:
        return "it is not what was requested: its digest is another"
    return None
