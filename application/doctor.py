"""Examining a service: many checks at once, each with its time, and one that breaks keeps none of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique

from application.ports import StoreUnavailable

LIMIT_S = 5.0
"""What takes longer than this is not well."""


@unique
class Verdict(StrEnum):
    """Fine; worth a look; broken."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check saw. `to_do` is empty where nothing is to be done."""

    name: str
    verdict: Verdict
    what: str
    to_do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`look` gives findings, mostly one. It is left out unless all findings of the check that it `needs` passed."""

    name: str
    look: Callable[[], Awaitable[Sequence[Finding]]]
    needs: str | None = None


def passed(name: str, what: str) -> Finding:
    """All is well."""
    return Finding(name=name, verdict=Verdict.PASS, what=what)


def warned(name: str, what: str, to_do: str) -> Finding:
    """It works, and somebody should look at it."""
    return Finding(name=name, verdict=Verdict.WARN, what=what, to_do=to_do)


def failed(name: str, what: str, to_do: str) -> Finding:
    """It doesn't work, or will lose something."""
    return Finding(name=name, verdict=Verdict.FAIL, what=what, to_do=to_do)


async def examine(checks: Iterable[Check], limit_s: float = LIMIT_S) -> list[Finding]:
    """The findings of all checks, in their order; those that need none of the others run at the same time.

    A check that raises, or takes longer than `limit_s`, is a finding: failed.
    """
    found: dict[str, Sequence[Finding]] = {}
    left = list(checks)
    names = [one.name for one in left]
    while ready := [one for one in left if one.needs is None or one.needs in found]:
        left = [one for one in left if one not in ready]
        fit = [one for one in ready if one.needs is None or _is_fine(found[one.needs])]
        answers = await asyncio.gather(*(_bounded(one, limit_s) for one in fit))
        found |= {one.name: answer for one, answer in zip(fit, answers, strict=True)}
    return [finding for name in names for finding in found.get(name, ())]


def _is_fine(findings: Sequence[Finding]) -> bool:
    return all(one.verdict is Verdict.PASS for one in findings)


async def _bounded(check: Check, limit_s: float) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(limit_s):
            return await check.look()
    except TimeoutError:
        what = f"gave no answer within {limit_s:g} s"
    except StoreUnavailable as error:
        what = str(error)
    except Exception as error:
        what = f"could not be looked at: {type(error).__name__}: {error}"
    return [failed(check.name, what, "see whether it works by hand, and look again")]
