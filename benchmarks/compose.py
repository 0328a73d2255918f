"""What composing costs, beside `EmailMessage.as_bytes` in the same run: only the ratios mean anything.

python benchmarks/compose.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.policy import SMTP
from functools import partial
from time import perf_counter

from adapters.compose import compose, wire_address
from benchmarks.results import Measure, ratios, told
from domain.content import Address, Attachment, Content

ID = "0193f0e2-1111-7abc-8def-0123456789ab"
DATE = datetime(2025, 3, 1, 9, 5, 7, tzinfo=UTC)
ROUNDS = 5
SECONDS_PER_ROUND = 0.2

ASCII = "Your parcel has left our house and is on its way to you.\n" * 18
GERMAN = "Dein Päckchen hat unser Haus verlassen und ist unterwegs zu dir, schöne Grüße.\n" * 13
PLAIN = Content(
    sender=Address(address="shop@example.org", name="The Shop"),
    to=(Address(address="ann@example.com"),),
    subject="Your order 1234",
    text=ASCII,
)
CASES = {
    "plain, 1 KB": PLAIN,
    "UTF-8, 1 KB": Content(
        sender=Address(address="shop@example.org", name="Käserei Müller"),
        to=(Address(address="joerg@bücher.example", name="Jörg"),),
        subject="Grüße aus Köln",
        text=GERMAN,
    ),
    "text and HTML": Content(
        sender=PLAIN.sender, to=PLAIN.to, subject="Hi", text=ASCII, html=f"<p>{ASCII}</p>"
    ),
    "100 KB attached": Content(
        sender=PLAIN.sender,
        to=PLAIN.to,
        subject="Your bill",
        text=ASCII,
        attachments=(
            Attachment(filename="bill.pdf", content_type="application/pdf", data=bytes(range(256)) * 400),
        ),
    ),
}


def by_email(content: Content) -> bytes:
    """The same message as the standard library makes it."""
    message = EmailMessage(policy=SMTP)
    message["From"] = Mailbox(content.sender.name, addr_spec=content.sender.address)
    message["To"] = [Mailbox(one.name, addr_spec=wire_address(one.address)) for one in content.to]
    message["Subject"] = content.subject
    message["Date"] = DATE
    message["Message-ID"] = f"<{ID}@{content.sender.domain}>"
    message.set_content(content.text or "")
    if content.html:
        message.add_alternative(content.html, subtype="html")
    for one in content.attachments:
        maintype, _, subtype = one.content_type.partition("/")
        message.add_attachment(one.data, maintype=maintype, subtype=subtype, filename=one.filename)
    return message.as_bytes()


def microseconds(call: Callable[[], bytes], rounds: int = ROUNDS) -> float:
    """The best of a few rounds: the rest is what else the machine did."""
    best = float("inf")
    for _ in range(rounds):
        calls, start = 0, perf_counter()
        while (elapsed := perf_counter() - start) < SECONDS_PER_ROUND:
            call()
            calls += 1
        best = min(best, elapsed / calls)
    return best * 1e6


def measures() -> Iterator[Measure]:
    """How many times as fast it is, for each kind of email, in rounds of both."""
    for name, content in CASES.items():
        pairs = [
            (
                microseconds(partial(by_email, content), 1),
                microseconds(partial(compose, content, email_id=ID, date=DATE), 1),
            )
            for _ in range(ROUNDS)
        ]
        theirs, ours = zip(*pairs, strict=True)
        yield Measure(name=f"composing: {name}", limit="EmailMessage", values=ratios(theirs, ours))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    if parser.parse_args().json:
        print(told("compose", conditions={}, measures=list(measures()), as_json=True))
        return
    print(f"{'':16} {'compose':>10} {'EmailMessage':>14} {'ratio':>7}")
    for name, content in CASES.items():
        ours = microseconds(partial(compose, content, email_id=ID, date=DATE))
        theirs = microseconds(partial(by_email, content))
        print(f"{name:16} {ours:7.1f} µs {theirs:11.1f} µs {theirs / ours:6.1f}x")


if __name__ == "__main__":
    main()
