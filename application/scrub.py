"""Provider texts, made fit for the log: no address, no control character, no more than a line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from domain.content import Content
from domain.failures import Accepted, Outcome, Refusal
from domain.replace import replace

DETAIL_MAX = 200
"""Characters of a provider's text that are kept: enough to recognise the error."""

CODE_MAX = 60
SHORT = 3
"""Texts no longer than this say nothing by themselves, and would be found everywhere."""

ADDRESS = re.compile(r"[^\s<>\"'(),;:]+@[^\s<>\"'(),;:]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def scrub(text: str, secrets: Iterable[str] = (), limit: int = DETAIL_MAX) -> str:
    """`text` without addresses and without any of `secrets`, on one line, cut to `limit`."""
    for secret in secrets:
        if secret and secret in text:
            text = text.replace(secret, "…")
    if "@" in text:
        text = ADDRESS.sub("<address>", text)
    return _on_one_line(text).strip()[:limit]


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else CONTROL.sub(" ", text)


def scrubbed(outcome: Outcome, content: Content) -> Outcome:
    """The outcome with every text scrubbed: of addresses in whatever form, of names and of the subject."""
    people = (content.sender, *content.envelope, *content.reply_to)
    forms = {form for one in people for form in (one.address, one.address.rpartition("@")[0], one.name)}
    known = sorted((form for form in {*forms, content.subject} if len(form) > SHORT), key=len, reverse=True)
    refused = tuple(
        Refusal(index=one.index, kind=one.kind, code=scrub(one.code, known, CODE_MAX))
        for one in outcome.refused
    )
    code = scrub(outcome.code, known, CODE_MAX)
    if isinstance(outcome, Accepted):
        message_id = outcome.message_id
        for one in known:
            message_id = message_id.replace(one, "…")
        message_id = _on_one_line(message_id)[:DETAIL_MAX]
        return replace(outcome, refused=refused, code=code, message_id=message_id)
    return replace(outcome, refused=refused, code=code, detail=scrub(outcome.detail, known))
