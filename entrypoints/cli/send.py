"""`send`: one email from the command line, by the same rules as `POST /send-email`."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from entrypoints.cli.options import AsJson, ConfigFile, configuration
from entrypoints.cli.output import BadUsage, print_json, print_pairs
from entrypoints.cli.writing import open_writer

STDIN = "-"


def _option(name: str, says: str, *, any_text: bool = False) -> Parameter:
    # A text may well begin with a hyphen, or be nothing else.
    return Parameter(name=f"--{name}", help=says, allow_leading_hyphen=any_text)


Several = list[str] | None
One = str | None


def send(
    *,
    to: Annotated[
        Several, _option("to", "Who gets it, like 'Ann <ann@example.org>'. Again for more.")
    ] = None,
    cc: Annotated[Several, _option("cc", "Who gets a copy, for all to see.")] = None,
    bcc: Annotated[Several, _option("bcc", "Who gets a copy that the others don't know of.")] = None,
    sender: Annotated[One, _option("from", "Who sends it; default: `from` of the configuration.")] = None,
    reply_to: Annotated[Several, _option("reply-to", "Where answers go.")] = None,
    subject: Annotated[One, _option("subject", "Its subject.", any_text=True)] = None,
    body: Annotated[
        One,
        _option("body", "Its text; - or no --html either: it is read from standard input.", any_text=True),
    ] = None,
    html: Annotated[
        One, _option("html", "The same as HTML; -: it is read from standard input.", any_text=True)
    ] = None,
    attach: Annotated[list[Path] | None, _option("attach", "A file that goes along. Again for more.")] = None,
    header: Annotated[Several, _option("header", "A header, 'Name: value'. Again for more.")] = None,
    tag: Annotated[Several, _option("tag", "A tag: routes may match it. Again for more.")] = None,
    ref: Annotated[One, _option("id", "Your id for it: repeated, it is sent only once.")] = None,
    send_at: Annotated[One, _option("send-at", "Not before, like 2027-01-01T08:00:00+01:00.")] = None,
    expires_after: Annotated[One, _option("expires-after", "Give up after so long, like 2h.")] = None,
    on_uncertain: Annotated[
        One, _option("on-uncertain", "If it may have been sent: retry, hold or fail.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Hand in one email."""
    if body is None and html is None:
        body = STDIN
    if body == STDIN and html == STDIN:
        raise BadUsage("standard input can be the body or the html, not both")
    headers = _headers(header)
    attachments = None if attach is None else [_attachment(one) for one in attach]
    given = {
        "id": ref,
        "from": sender,
        "to": to,
        "cc": cc,
        "bcc": bcc,
        "reply_to": reply_to,
        "subject": subject,
        "body": _text(body),
        "html": _text(html),
        "headers": headers,
        "attachments": attachments,
        "tags": tag,
        "send_at": send_at,
        "expires_after": expires_after,
        "on_uncertain": on_uncertain,
    }
    document = json.dumps({key: value for key, value in given.items() if value is not None}).encode()
    with open_writer(configuration(config), accepts=True) as writer:
        receipt = writer.send(document)
    if as_json:
        print_json(receipt)
    else:
        print_pairs((key, receipt[key]) for key in ("id", "email_id", "status"))


def _text(given: str | None) -> str | None:
    if given != STDIN:
        return given
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise BadUsage(f"standard input is not {error.encoding}: {error.reason}") from error


def _headers(given: Several) -> dict[str, str] | None:
    if given is None:
        return None
    headers: dict[str, str] = {}
    for one in given:
        name, colon, value = one.partition(":")
        if not colon:
            raise BadUsage(f"--header {one!r} has no colon; write it like 'Name: value'")
        if name in headers:
            raise BadUsage(f"--header {name!r} is given twice")
        headers[name] = value.strip()
    return headers


def _attachment(file: Path) -> dict[str, str]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadUsage(f"--attach {file}: {error.strerror}") from error
    # Without a content_type: whoever accepts it tells from the name, the same way for everybody.
    return {"filename": file.name, "content": base64.b64encode(data).decode()}
