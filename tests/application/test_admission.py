"""So many at once as are answered in time: the door closes when answers are late, and opens again."""

from __future__ import annotations

from application.admission import AT_FIRST, AT_LEAST, AT_MOST, WANTED_S, Admission


def entered(admission: Admission, count: int) -> int:
    """So many come at once; how many may come in."""
    let_in = 0
    for _ in range(count):
        if not admission.refuses():
            admission.enter()
            let_in += 1
    return let_in


def left(admission: Admission, count: int, took_s: float, now: float) -> None:
    """So many are answered at this moment."""
    for _ in range(count):
        admission.leave(now - took_s, now)


def test_a_crowd_is_let_in_and_what_exceeds_it_refused() -> None:
    """Also before anything is known of how long answers take; and once they are gone, as many may come."""
    admission = Admission()
    first = entered(admission, 5000)
    left(admission, first, took_s=WANTED_S, now=10)

    assert AT_FIRST == first
    assert 5000 - AT_FIRST == admission.told()
    assert 0 == admission.told()
    assert entered(admission, 5000) >= AT_FIRST


def test_late_answers_lower_the_limit_to_what_would_have_been_in_time() -> None:
    """A quarter too late: a fifth less. All who were in the same crowd are one reason, not many."""
    admission = Admission()
    left(admission, entered(admission, AT_FIRST), took_s=1.25 * WANTED_S, now=10)

    assert AT_FIRST * 0.8 == admission.limit


def test_what_a_request_waited_before_anybody_saw_it_counts() -> None:
    """Where the event loop is late, an answer in time was late all the same."""
    admission = Admission()
    admission.lag_s = 0.25 * WANTED_S
    left(admission, entered(admission, AT_FIRST), took_s=WANTED_S, now=10)

    assert AT_FIRST * 0.8 == admission.limit


def test_a_service_that_goes_on_being_slow_takes_fewer_and_fewer_but_never_none() -> None:
    """However long the disk stalls, somebody is let in to find out that it is over."""
    admission = Admission()
    for crowd in range(1, 30):
        left(admission, entered(admission, AT_FIRST), took_s=60, now=100.0 * crowd)

    assert AT_LEAST == admission.limit
    assert AT_LEAST == entered(admission, AT_FIRST)


def test_answers_in_time_open_the_door_as_far_as_it_is_used() -> None:
    """Up to a bound; and whoever comes alone proves nothing about crowds."""
    alone, crowded = Admission(), Admission()
    for second in range(3000):
        left(alone, entered(alone, 1), took_s=0.001, now=second)
    for second in range(300):
        left(crowded, entered(crowded, AT_MOST), took_s=WANTED_S, now=second)

    assert AT_FIRST == alone.limit
    assert AT_MOST == crowded.limit
    assert AT_MOST == entered(crowded, 2 * AT_MOST)
