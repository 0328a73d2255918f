"""What a simulation found, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from application.simulate_results import PERCENTS, Delays, Line, Results, Use
from application.simulate_scenario import Scenario
from entrypoints.shapes import Shape


def simulated(scenario: Scenario, runs: Mapping[str, Results]) -> Shape:
    """All of it; `runs` by the name of their configuration."""
    return {
        "scenario": {
            "rate_per_s": scenario.per_s,
            "for_s": scenario.lasts.total_seconds(),
            "seed": scenario.seed,
            "workers": scenario.workers,
            "routes": {one.name: one.share for one in scenario.samples},
        },
        "runs": [{"config": name, **_run(found)} for name, found in runs.items()],
    }


def _run(found: Results) -> Shape:
    whole = found.whole
    return {
        "emails": {
            "requested": whole.requested,
            "sent": whole.sent,
            "failed": whole.failed,
            "waiting": found.waiting,
            "held": found.held,
            "refused": found.refused,
        },
        "failed_because": dict(sorted(found.reasons.items())),
        "attempts": whole.attempts,
        "attempts_failed": dict(sorted(whole.attempts_failed.items())),
        "uncertain": whole.uncertain,
        "duplicates": {"possible": found.risks, "real": found.duplicates},
        "delay_ms": _delays(whole.delays),
        "waiting_most": found.waiting_most,
        "ended_s": round(found.ended_s, 3),
        "counted_together": found.plain,
        "providers": [_provider(name, line, found) for name, line in found.providers.items()],
        "routes": [
            {"name": name, "requested": line.requested, **_ends(line)}
            for name, line in sorted(found.routes.items())
        ],
        "switches": _switches(found),
        "limits": [_limit(use) for use in found.uses],
        "circuit": [
            {
                "at_s": round(one.at_s, 3),
                "provider": one.provider,
                "to": one.phase.value,
                "reason": one.reason,
            }
            for one in found.changes
        ],
        "timeline": _timeline(found),
    }


def _switches(found: Results) -> list[Shape]:
    return [
        {"from": one, "to": other, "reason": reason, "count": count}
        for (one, other, reason), count in sorted(found.switches.items())
    ]


def _limit(use: Use) -> Shape:
    full = round(use.full / use.looks, 4) if use.looks else 0.0
    return {"of": use.whose, "limit": use.limit, "allows": use.of, "most": use.most, "full_share": full}


def _provider(name: str, line: Line, found: Results) -> Shape:
    return {
        "name": name,
        "sent": line.sent,
        "attempts": line.attempts,
        "attempts_failed": dict(sorted(line.attempts_failed.items())),
        "uncertain": line.uncertain,
        "delay_ms": _delays(line.delays),
        "circuit_opened": found.opened[name],
        "circuit_open_s": round(found.open_s.get(name, 0.0), 3),
    }


def _ends(line: Line) -> Shape:
    return {"sent": line.sent, "failed": line.failed, "delay_ms": _delays(line.delays)}


def _delays(delays: Delays) -> Shape | None:
    """None: nothing was sent."""
    if not delays.counts:
        return None
    percentiles = {f"p{percent}": _ms(delays.percentile(percent)) for percent in PERCENTS}
    return {**percentiles, "max": _ms(delays.longest)}


def _ms(delay: timedelta | None) -> float | None:
    return None if delay is None else round(delay / timedelta(milliseconds=1), 1)


def _timeline(found: Results) -> Shape:
    steps = [found.steps[number] for number in range(found.shown)]
    return {
        "step_s": found.step_s,
        "requested": [step.requested for step in steps],
        "failed": [step.failed for step in steps],
        "waiting": [step.waiting for step in steps],
        "sent": {name: [step.sent[name] for step in steps] for name in found.providers},
        "circuit": {name: [one.value for one in found.phases(name)] for name in found.providers},
    }
