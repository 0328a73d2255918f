"""The walk along a route's providers, and the lanes emails wait in."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.routing import ENDS_WALK, Blocked, Lane, OnLimit, Opening, PassedOver, Route, Walk, walk

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WAIT, OVERFLOW = OnLimit.WAIT, OnLimit.OVERFLOW
FREE, PAUSED, OPEN = None, Blocked.PAUSED, Blocked.CIRCUIT_OPEN
AT_LIMIT, NOT_BEFORE = Blocked.AT_LIMIT, Blocked.NOT_BEFORE
ABC = ("a", "b", "c")


def openings(*blocked: Blocked | None) -> tuple[Opening, ...]:
    """Providers a, b, c as they stand now."""
    return tuple(Opening(provider=name, blocked=one) for name, one in zip(ABC, blocked, strict=False))


def lane(*, ruled_out: str = "", spent: str = "", bound: str | None = None) -> Lane:
    """The lane of emails that these providers are out of the question for."""
    return Lane("", "default", tuple(ruled_out), tuple(spent), bound)


@pytest.mark.parametrize(
    ("blocked", "where", "on_limit", "chosen"),
    [
        pytest.param((FREE, FREE), lane(), WAIT, "a", id="the first"),
        pytest.param((OPEN, PAUSED, FREE), lane(), WAIT, "c", id="past open and paused"),
        pytest.param((FREE, FREE), lane(ruled_out="a"), WAIT, "b", id="past who refused for good"),
        pytest.param((FREE, FREE), lane(spent="a"), WAIT, "b", id="past spent"),
        pytest.param((AT_LIMIT, FREE), lane(), WAIT, None, id="a limit ends the walk"),
        pytest.param((NOT_BEFORE, FREE), lane(), WAIT, None, id="so does its not_before"),
        pytest.param((AT_LIMIT, NOT_BEFORE, FREE), lane(), OVERFLOW, "c", id="unless the route overflows"),
        pytest.param((AT_LIMIT, FREE), lane(spent="a"), WAIT, "b", id="a spent one's limit ends nothing"),
        pytest.param((AT_LIMIT, FREE), lane(ruled_out="a"), WAIT, "b", id="nor that of one ruled out"),
        pytest.param((OPEN, AT_LIMIT, FREE), lane(), WAIT, None, id="a limit further down"),
        pytest.param((FREE, FREE), lane(spent="ab"), WAIT, "a", id="all spent: a new cycle"),
        pytest.param((FREE, OPEN), lane(spent="a"), WAIT, "a", id="the unspent broken: a new cycle"),
        pytest.param((OPEN, FREE), lane(spent="ab"), WAIT, "b", id="a new cycle past open ones"),
        pytest.param((FREE, AT_LIMIT), lane(spent="a"), WAIT, None, id="the unspent busy: no new cycle"),
        pytest.param((AT_LIMIT, FREE), lane(spent="ab"), WAIT, None, id="a limit ends the new cycle's walk"),
        pytest.param((FREE, FREE), lane(ruled_out="ab"), WAIT, None, id="all refused for good"),
        pytest.param((FREE, FREE), lane(ruled_out="a", spent="b"), WAIT, "b", id="refused stays refused"),
        pytest.param((FREE, FREE), lane(bound="b"), WAIT, "b", id="bound to its key's provider"),
        pytest.param((FREE, OPEN), lane(bound="b"), WAIT, None, id="bound, and it is broken"),
        pytest.param((FREE, AT_LIMIT), lane(bound="b"), OVERFLOW, None, id="bound does not overflow"),
        pytest.param((FREE, FREE), lane(spent="b", bound="b"), WAIT, "b", id="bound though spent"),
        pytest.param((FREE, FREE), lane(ruled_out="b", bound="b"), WAIT, None, id="bound but refused"),
        pytest.param((FREE,), lane(bound="z"), WAIT, None, id="bound to one that is gone"),
        pytest.param((), lane(), WAIT, None, id="no providers"),
    ],
)
def test_where_the_walk_ends(
    blocked: tuple[Blocked | None, ...], where: Lane, on_limit: OnLimit, chosen: str | None
) -> None:
    """The first provider of the route that an email of this lane may take now."""
    found = walk(openings(*blocked), where, on_limit).chosen

    assert chosen == (found.provider if found else None)


def test_the_walk_says_who_was_passed_over_and_why() -> None:
    """Up to the one it took."""
    found = walk(openings(OPEN, FREE, FREE), lane(spent="b"), WAIT)

    assert (PassedOver("a", "circuit_open"), PassedOver("b", "spent")) == found.passed_over


def test_a_walk_that_found_nobody_says_when_to_look_again() -> None:
    """At the earliest end of a block that ends by itself."""
    times = [T0 + timedelta(seconds=seconds) for seconds in (50, 20)]
    found = walk(
        (
            Opening(provider="a", blocked=OPEN, until=times[0]),
            Opening(provider="b", blocked=OPEN, until=times[1]),
            Opening(provider="c", blocked=PAUSED),
        ),
        lane(),
        WAIT,
    )

    assert times[1] == found.until
    assert found.chosen is None


def test_a_walk_that_ended_at_a_limit_looks_no_further() -> None:
    """What comes after it is not waited for."""
    soon = T0 + timedelta(seconds=1)
    found = walk(
        (
            Opening(provider="a", blocked=AT_LIMIT, until=T0 + timedelta(seconds=9)),
            Opening(provider="b", blocked=OPEN, until=soon),
        ),
        lane(),
        WAIT,
    )

    assert Walk(None, (PassedOver("a", "at_limit"),), T0 + timedelta(seconds=9)) == found


BLOCKS = st.sampled_from([FREE, PAUSED, OPEN, AT_LIMIT, NOT_BEFORE])


@for_all(st.lists(BLOCKS, max_size=3), st.sets(st.sampled_from(ABC)), st.sets(st.sampled_from(ABC)))
def test_a_walk_takes_only_who_is_free_and_not_refused(
    blocked: list[Blocked | None], ruled_out: set[str], spent: set[str]
) -> None:
    """And finds somebody whenever a route that overflows has such a one."""
    here = lane(ruled_out="".join(sorted(ruled_out)), spent="".join(sorted(spent)))
    waits, overflows = (walk(openings(*blocked), here, how).chosen for how in (WAIT, OVERFLOW))
    usable = {one.provider for one in openings(*blocked) if one.blocked is None} - ruled_out

    assert bool(usable) == (overflows is not None)
    for found in (waits, overflows):
        assert found is None or found.provider in usable
    if waits is not None and overflows is not None and not ENDS_WALK & set(blocked):
        assert waits == overflows


NAMES = st.text(max_size=8)


@for_all(NAMES, NAMES, st.lists(NAMES), st.lists(NAMES), st.none() | NAMES, st.booleans())
def test_a_lane_is_read_back(
    tenant: str, route: str, ruled_out: list[str], spent: list[str], bound: str | None, tried: bool
) -> None:
    """Whatever people call their routes and providers."""
    written = Lane(tenant, route, tuple(ruled_out), tuple(spent), bound, tried)

    assert written == Lane.parse(str(written))


@pytest.mark.parametrize(
    ("tag", "domain", "expected"),
    [
        (None, None, False),
        ("otp", None, True),
        ("bulk", None, False),
        (None, "example.com", True),
        (None, "example.org", False),
        ("otp", "example.com", True),
        ("otp", "example.org", False),
        ("bulk", "example.com", False),
    ],
)
def test_a_route_matches_by_tag_and_sender(tag: str | None, domain: str | None, expected: bool) -> None:
    """By all that it names; one that names nothing is only taken by its name."""
    route = Route(name="r", providers=("a",), match_tag=tag, match_from_domain=domain)

    assert expected == route.matches(tags=("otp", "login"), from_domain="example.com")
