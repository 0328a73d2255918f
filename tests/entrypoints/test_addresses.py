"""Addresses as clients write them: what is taken, what it becomes, and that the fast way is no other way."""

from __future__ import annotations

import email_validator
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from domain.content import Address
from entrypoints import addresses
from entrypoints.addresses import NAME_MAX, PLAIN, TEXT_MAX, BadAddress, parse_address, parse_domain


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("shop@example.org", "shop@example.org", ""),
        ("First.Last+tag@Example.ORG", "First.Last+tag@example.org", ""),
        ("<shop@example.org>", "shop@example.org", ""),
        ("  shop@example.org ", "shop@example.org", ""),
        ("Shop <shop@example.org>", "shop@example.org", "Shop"),
        ("Shop<shop@example.org>", "shop@example.org", "Shop"),
        ('"Shop" <shop@example.org>', "shop@example.org", "Shop"),
        ('"" <shop@example.org>', "shop@example.org", ""),
        (r'"A \"b\" \\ <x@y>, c" <shop@example.org>', "shop@example.org", 'A "b" \\ <x@y>, c'),
        ("J. R. O'Neil (Sales) <j@example.org>", "j@example.org", "J. R. O'Neil (Sales)"),
        ("Jürgen 👩‍💻 <j@example.org>", "j@example.org", "Jürgen 👩‍💻"),
        ("a@b.org <a@b.org>", "a@b.org", "a@b.org"),
        ("root@localhost", "root@localhost", ""),
        ("alerts@mail.local", "alerts@mail.local", ""),
        ("büro@mail.test", "büro@mail.test", ""),
        ("j@Bücher.example", "j@xn--bcher-kva.example", ""),
        ("j@xn--bcher-kva.example", "j@xn--bcher-kva.example", ""),
        ("jürgen@bücher.example", "jürgen@xn--bcher-kva.example", ""),
        ("Info@Bücher.example", "Info@xn--bcher-kva.example", ""),
        ("Info@example.org", "Info@example.org", ""),
    ],
)
def test_what_is_taken(text: str, address: str, name: str) -> None:
    """The local part as written, the domain in lower case and ASCII, the name without its quotes."""
    assert Address(address=address, name=name) == parse_address(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must have an @"),
        ("shop", "must have an @"),
        ("@example.org", "something before"),
        ("shop@", "something after"),
        ("a..b@example.org", "two periods"),
        (".a@example.org", "start with a period"),
        ("a b@example.org", "invalid characters"),
        ("a@b@example.org", "invalid characters"),
        ("a@-b.org", "hyphen"),
        ("a@b_c.org", "invalid characters"),
        ("a@b.org.", "period"),
        ("a@xn--zzzzzz.org", "not valid IDNA"),
        ("a@[1.2.3.4]", "not allowed"),
        ("a@1.2.3.4", "IP address"),
        ("a@[IPv6:::1]", "not allowed"),
        ('"a b"@example.org', "Quoting"),
        ("a@b.org, c@d.org", "invalid characters"),
        ("a@b.org, c <d@e.org>", "one address"),
        ("x; y <d@e.org>", "one address"),
        ("x <d@e.org> y", "one address"),
        ("x <d@e.org", "one address"),
        ("x <y <d@e.org>>", "one address"),
        ('"x <d@e.org>', "one address"),
        ("x <>", "must have an @"),
        (f"{'n' * (NAME_MAX + 1)} <a@b.org>", "display name"),
        ("a" * (TEXT_MAX + 1), f"{TEXT_MAX} characters"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    """With a sentence that says why."""
    with pytest.raises(BadAddress) as caught:
        parse_address(text)

    assert reason in caught.value.reason


@pytest.mark.parametrize("bad", ["\r", "\n", "\r\n", "\0", "\t", "\x7f", "\x85", "\u2028", "\ud800"])
@pytest.mark.parametrize("form", ["{}a@b.org", "a{}@b.org", "a@b.org{}", "N{} <a@b.org>", '"N{}" <a@b.org>'])
def test_nothing_gets_in_that_could_break_a_header(bad: str, form: str) -> None:
    """Wherever it stands, and at the end as well, where a regular expression may overlook it."""
    with pytest.raises(BadAddress, match="control characters"):
        parse_address(form.format(bad))


def test_the_lengths_of_rfc_5321() -> None:
    """64 octets before the @, 254 in all, 63 a label: on the fast way and on the library's."""
    label = "d" * 63

    for longest in ("a" * 64, "ü" * 32):
        assert f"{longest}@b.org" == parse_address(f"{longest}@b.org").address
        with pytest.raises(BadAddress):
            parse_address(f"{longest}x@b.org")
    for local in ("a", "ü"):
        rest = 254 - len(f"{local}@.{label}.{label}.{label}".encode())
        whole = f"{local}@{'d' * rest}.{label}.{label}.{label}"
        assert whole == parse_address(whole).address
        with pytest.raises(BadAddress):
            parse_address(f"{local}@{'d' * (rest + 1)}.{label}.{label}.{label}")
        with pytest.raises(BadAddress):
            parse_address(f"{local}@d{label}.org")


def test_a_domain_alone_is_spelled_like_an_address_s() -> None:
    """So that the two can be compared."""
    assert parse_address("x@BÜCHER.example").domain == parse_domain("Bücher.example")
    for bad in ("", "a b", "a@b.org", "<a@b.org>", "1.2.3.4", "b.org\n"):
        with pytest.raises(BadAddress):
            parse_domain(bad)


LOCAL = st.text("aZ0.+_-'!{\"@ü ", min_size=1, max_size=8) | st.from_regex(r"[a-z.]{1,70}", fullmatch=True)
DOMAIN = st.text("aZ0.-_x[ ü", min_size=1, max_size=10) | st.from_regex(r"[a-z]{60,64}(\.[a-z-]{1,63}){0,4}")


@given(LOCAL, DOMAIN)
@example("a", "xn--a.org")
@example("a", "ab--c.org")
@example("a", "b.org\n")
@example("a" * 65, "b.org")
@example("info", "EXAMPLE.test")
def test_the_fast_way_and_the_library_agree(local: str, domain: str) -> None:
    """What matches the regular expression is valid for the library and comes out the same; most of it does match."""
    text = f"{local}@{domain}"
    assume(PLAIN.fullmatch(text))

    try:
        parsed = parse_address(text).address
    except BadAddress:
        parsed = None
    try:
        library = "@".join(addresses._by_the_library(text))
    except BadAddress:
        library = None

    # An IP address is refused on both ways, behind the library.
    assert parsed == library or (parsed is None and domain.rpartition(".")[2].isdigit())


@given(
    st.from_regex(
        r"[a-z0-9]([a-z0-9.+_-]{0,20}[a-z0-9])?@[a-z0-9-]{1,20}(\.[a-z]{2,10}){0,2}", fullmatch=True
    )
)
def test_an_ordinary_address_that_the_library_takes_is_plain(text: str) -> None:
    """Or it would cost many times what it has to."""
    try:
        email_validator.validate_email(text, check_deliverability=False, globally_deliverable=False)
    except email_validator.EmailNotValidError:
        return

    assert PLAIN.fullmatch(text) or "--" in text


@given(st.text(max_size=40) | st.text('a"\\<>@., \n', max_size=20))
def test_any_text_is_an_address_or_a_bad_one(text: str) -> None:
    """Never another exception, and what comes out is harmless and stays what it is."""
    try:
        parsed = parse_address(text)
    except BadAddress:
        return

    assert not addresses.BREAKS_LINES.search(parsed.address + parsed.name)
    assert Address(address=parsed.address) == parse_address(parsed.address)
