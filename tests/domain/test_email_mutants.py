"""Broken rules must be noticed: if random lives don't notice one, they prove nothing about it."""

import pytest

from tests.domain.driver import drive
from tests.domain.invariants import Broken
from tests.domain.mutants import MUTANTS, Break

SEEDS_MAX = 1000
"""Each of them is found far earlier; a mutant that needs more has become too rare to rely on."""


def caught(patch: pytest.MonkeyPatch, mutant: Break) -> tuple[str, int]:
    """The invariant that noticed, and the seed."""
    mutant(patch)
    for seed in range(SEEDS_MAX):
        try:
            drive(seed)
        except Broken as broken:
            return broken.name, seed
    return "nothing", SEEDS_MAX


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_noticed(mutant: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the invariant that it breaks."""
    name, seed = caught(monkeypatch, mutant)

    assert name in MUTANTS[mutant], (name, seed)
