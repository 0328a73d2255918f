"""The protocol, broken on purpose, one rule at a time: at the boundary of a function or a port, never in the product.

`MUTANTS` says for each which seeds catch it, and by which invariant. The same seeds pass when nothing is broken. Where
the program has changed so much that none of them does any more, `--mutant NAME --seeds 500` finds others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.simulation import broken_emails, broken_gates, broken_workers

Break = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Caught:
    """A mutant, the invariants that may notice it, and seeds that do, the shortest first."""

    broken: Break
    by: frozenset[str]
    seeds: tuple[int, ...] = ()


def _caught(*found: tuple[Break, set[str], tuple[int, ...]]) -> dict[str, Caught]:
    return {broken.__name__: Caught(broken, frozenset(by), seeds) for broken, by, seeds in found}


SILENT = {"I3", "I4", "denied", "said"}
"""Whoever forgets that somebody may have it sends a second copy, or ends by saying that nobody has it."""

MUTANTS: dict[str, Caught] = _caught(
    (broken_workers.no_write_ahead, {"I5", "I3"}, (4, 0, 13)),
    (broken_workers.fencing_ignored, {"I8"}, (7, 0, 1)),
    (broken_workers.timeout_is_failure, SILENT, (10, 0, 13)),
    (broken_workers.lost_goes_back_to_the_queue, SILENT | {"I12"}, (63, 53, 12)),
    (broken_workers.renewal_closes_what_it_holds, SILENT | {"I12"}, (10, 8, 0)),
    (broken_gates.late_result_counted_twice, {"I10"}, (2, 10, 13)),
    (broken_gates.sixty_buckets, {"I6"}, (19, 1, 18)),
    (broken_gates.gate_read_before_its_lock, {"I6"}, (10, 36, 48)),
    (broken_gates.probe_leak, {"I7"}, (328, 18, 299)),
    (broken_gates.half_open_lets_all_through, {"I7"}, (30, 39, 3)),
    (broken_gates.open_circuit_ignored, {"I7"}, (13, 0, 3)),
    (broken_gates.pause_ignored, {"I7"}, (11, 41, 47)),
    (broken_emails.deferred_recipients_dropped, {"I2"}, (10, 5, 0)),
    (broken_emails.late_results_are_dropped, {"heard", "denied"}, (63, 110, 137)),
    (broken_emails.later_failure_clears_doubt, SILENT, (371, 543, 558)),
    (broken_emails.expired_while_uncertain, {"denied"}, (37, 44, 13)),
    (broken_emails.what_was_cut_off_counts_as_heard_out, {"said"}, (6636, 5014, 4888)),
    (broken_workers.claims_ignore_lanes, {"I14"}, (1, 190, 32)),
    (broken_workers.answered_before_it_is_durable, {"I1"}, (2, 10, 15)),
    (broken_emails.key_in_doubt_binds_nobody, SILENT, (93, 92, 0)),
    (broken_emails.redriven_in_silence, SILENT, (306, 589, 20)),
    (broken_workers.answers_are_not_scrubbed, {"I13"}, (2, 5, 0)),
    (broken_emails.refused_are_carried_again, {"I12"}, (37, 9, 7)),
    (broken_emails.held_for_ever, {"I14"}, (44, 13, 39)),
    (broken_gates.gate_misses_the_lost, {"I10", "I14"}, (2, 30, 12)),
    (broken_workers.retention_erases_what_is_reopened, {"I1"}, (41,)),
    (broken_gates.concurrency_ignored, {"I6"}, (24, 0, 12)),
    (broken_workers.called_again_after_no_answer, {"I5", "I3"}, (2, 7, 0)),
)
"""Each by its name. What another rule prevents as well may be noticed by that one's invariant first."""
