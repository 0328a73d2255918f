"""From the replies of one SMTP transaction to its outcome. Pure.

**Invariant:** no outcome says `NotAccepted` once the final dot may have been read and wasn't answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.providers.detail import one_line
from adapters.providers.smtp_connection import Answers
from adapters.providers.smtp_replies import Phase, Reply, classify, message_id, retry_after_s
from domain.failures import Accepted, FailureKind, NotAccepted, Outcome, Refusal, Unanswered


@dataclass(frozen=True, slots=True)
class Sorted:
    """The recipients of one envelope by the answers they got; who got none is nowhere.

    `deferred` holds those, too, that were refused for reasons not their own while others were accepted: they get
    another try. `stopper` is the reply to tell of where nobody was accepted, with its kind.
    """

    accepted: tuple[int, ...] = ()
    refused: tuple[Refusal, ...] = ()
    deferred: tuple[int, ...] = ()
    stopper: tuple[FailureKind, Reply] | None = None

    def not_accepted(self, kind: FailureKind, reply: Reply | None, detail: str = "") -> NotAccepted:
        """Nobody's mail was taken, for this reason."""
        return NotAccepted(
            kind=kind,
            code=reply.label if reply else "",
            detail=one_line(reply.words if reply else detail),
            refused=self.refused,
            deferred=self.deferred,
            retry_after_s=retry_after_s(reply.text) if reply else None,
        )

    def unanswered(self, detail: str) -> Unanswered:
        """The accepted may have it."""
        return Unanswered(detail=one_line(detail), refused=self.refused, deferred=self.deferred)


def sort_recipients(replies: Sequence[Reply], recipients: Sequence[int]) -> Sorted:
    """Who was accepted, refused, put off. `recipients` are indexes, in the order they were named to the server."""
    accepted: list[int] = []
    refused: list[tuple[int, Reply]] = []
    deferred: list[tuple[int, Reply]] = []
    blocked: list[tuple[int, Reply, FailureKind]] = []
    for index, reply in zip(recipients, replies, strict=False):
        if reply.positive:
            accepted.append(index)
            continue
        match classify(Phase.RCPT, reply.code, reply.text):
            case FailureKind.RECIPIENT:
                refused.append((index, reply))
            case FailureKind.DEFERRED:
                deferred.append((index, reply))
            case kind:
                blocked.append((index, reply, kind))
    stopper: tuple[FailureKind, Reply] | None = None
    if blocked:
        stopper = (blocked[0][2], blocked[0][1])
    elif deferred:
        stopper = (FailureKind.DEFERRED, deferred[0][1])
    elif refused:
        stopper = (FailureKind.RECIPIENT, refused[0][1])
    put_off = [index for index, _ in deferred]
    if accepted:
        put_off = sorted((*put_off, *(index for index, _, _ in blocked)))
    return Sorted(
        tuple(accepted),
        tuple(Refusal(index=index, code=reply.label) for index, reply in refused),
        tuple(put_off),
        stopper,
    )


def envelope_failure(answers: Answers, those: Sorted) -> NotAccepted | None:
    """Why the body wasn't sent; None where the server waits for it on behalf of somebody."""
    match answers:
        case Answers(mail=Reply(positive=False) as mail):
            return Sorted().not_accepted(classify(Phase.MAIL, mail.code, mail.text), mail)
        case Answers(rcpts=[*_, Reply(code=421) as last]):  # the connection ended with it
            return those.not_accepted(classify(Phase.RCPT, last.code, last.text), last)
        case Answers(lost=str(why)) if why:
            return those.not_accepted(FailureKind.TRANSIENT, None, f"in the envelope: {why}")
    if not those.accepted:
        assert those.stopper is not None, "every recipient was answered, and none of them positively"
        return those.not_accepted(*those.stopper)
    data = answers.data
    if data is None or not data.intermediate:
        code, text = (data.code, data.text) if data else (0, "")
        return those.not_accepted(classify(Phase.DATA, code, text), data)
    return None


def final_outcome(reply: Reply, those: Sorted, *, dot_written: bool) -> Outcome:
    """What the reply to the message says."""
    if reply.positive and dot_written:
        return Accepted(
            accepted=those.accepted,
            refused=those.refused,
            deferred=those.deferred,
            message_id=message_id(reply.text),
            code=reply.label,
        )
    if reply.code < 400:
        return those.unanswered(f"no answer to a message: {reply.code} {reply.text}")
    kind = classify(Phase.BODY, reply.code, reply.text)
    refused, deferred = those.refused, those.deferred
    if kind is FailureKind.DEFERRED:
        deferred = tuple(sorted((*deferred, *those.accepted)))
    elif kind is FailureKind.RECIPIENT and len(those.accepted) == 1:
        refused = (*refused, Refusal(index=those.accepted[0], code=reply.label))
    elif kind is FailureKind.RECIPIENT:
        # One reply for all of them doesn't say whose fault it is: nobody may be refused for good by it.
        kind = FailureKind.CONTENT
    return Sorted((), refused, deferred).not_accepted(kind, reply)
