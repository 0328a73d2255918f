"""Who may ask for what: tokens, loopback names, pages from elsewhere; and what becomes of mistakes of ours."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

import pytest

from application.logbook import Logbook
from entrypoints.http import guard
from entrypoints.http.app import HttpOptions
from entrypoints.http.guard import Guard
from tests.entrypoints.http_api import PLAIN, SHOP, Api, Log, problem_in, running, without_worker

BOTH = HttpOptions(admin_token="adm1n", send_token="s3nd", default_from=SHOP, loopback_only=False)
ADMIN_ONLY = HttpOptions(admin_token="adm1n", default_from=SHOP)
SEND_ONLY = HttpOptions(send_token="s3nd", default_from=SHOP)

FOR_SENDERS = [
    ("POST", "/send-email"),
    ("GET", "/statuses"),
    ("HEAD", "/statuses"),
    ("GET", "/statuses?limit=5"),
    ("GET", "/statuses/order-1"),
    ("GET", "/statuses/a%2Fb"),
]
FOR_ADMINS = [
    ("GET", "/"),
    ("GET", "/emails/order-1/events"),
    ("GET", "/emails/order-1/explain"),
    ("POST", "/emails/order-1/cancel"),
    ("POST", "/emails/order-1/retry"),
    ("GET", "/providers"),
    ("GET", "/metrics"),
    ("GET", "/reports/hourly"),
    ("GET", "/reports/providers"),
    ("POST", "/providers/primary/pause"),
    ("POST", "/providers/primary/resume"),
    ("POST", "/providers/primary/reset"),
    ("GET", "/nowhere"),
    ("POST", "/statuses"),
    ("GET", "/send-email"),
    ("GET", "/statusesque"),
    ("POST", "/send-email/x"),
    ("DELETE", "/statuses/order-1"),
]
OPEN = [("GET", "/healthz"), ("GET", "/readyz")]


async def ask(api: Api, method: str, path: str, token: str | None = None, **headers: str) -> Any:
    """The answer to a request that is fine but for who asks."""
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return await api.client.request(
        method, path, json=PLAIN if path == "/send-email" else None, headers=headers
    )


@pytest.mark.parametrize("options", [BOTH, ADMIN_ONLY])
async def test_the_admin_token_opens_everything(options: HttpOptions) -> None:
    """Whatever else is configured."""
    async with running(options) as api:
        for method, path in FOR_SENDERS + FOR_ADMINS:
            assert (await ask(api, method, path, "adm1n")).status_code not in (401, 403), path


async def test_the_send_token_sends_and_reads_statuses() -> None:
    """And nothing else: 403 where the admin token is needed, also where there is nothing."""
    async with running(BOTH) as api:
        for method, path in FOR_SENDERS:
            assert (await ask(api, method, path, "s3nd")).status_code in (200, 202, 404), path
        for method, path in FOR_ADMINS:
            answer = await ask(api, method, path, "s3nd")
            assert (403, "forbidden") == (answer.status_code, problem_in(answer)["code"]), path
            assert (
                'Bearer realm="stagepost", error="insufficient_scope"' == answer.headers["www-authenticate"]
            )


@pytest.mark.parametrize("options", [BOTH, ADMIN_ONLY, SEND_ONLY])
async def test_without_a_token_nothing_is_told(options: HttpOptions) -> None:
    """Not even what there is: 401 with how to ask."""
    async with running(options) as api:
        for method, path in FOR_SENDERS + FOR_ADMINS:
            answer = await ask(api, method, path)
            assert 401 == answer.status_code, path
            assert 'Bearer realm="stagepost"' == answer.headers["www-authenticate"]
        assert "unauthorized" == problem_in(await ask(api, "GET", "/statuses"))["code"]
        assert not api.store.read_all(0, 10)


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer wrong",
        "Bearer adm1",
        "Bearer adm1n2",
        "Bearer ADM1N",
        "Bearer ",
        "Bearer",
        "adm1n",
        "Basic adm1n",
        "Bearer adm1n s3nd",
        "Bearer \xe4",
    ],
)
async def test_a_wrong_token_is_none(authorization: str) -> None:
    """401, saying that it was the token."""
    async with running(BOTH) as api:
        headers = [(b"authorization", authorization.encode("latin-1"))]
        answer = await api.client.get("/statuses", headers=headers)

        assert 401 == answer.status_code
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert "adm1n" not in answer.text


async def test_the_scheme_has_no_case() -> None:
    """RFC 9110 §11.1."""
    async with running(BOTH) as api:
        answer = await api.client.get("/statuses", headers={"authorization": "bearer  adm1n"})

        assert 200 == answer.status_code


@pytest.mark.parametrize("options", [BOTH, ADMIN_ONLY, SEND_ONLY, HttpOptions()])
async def test_load_balancers_need_no_token(options: HttpOptions) -> None:
    """They have none."""
    async with running(options) as api:
        for method, path in OPEN:
            assert 200 == (await ask(api, method, path)).status_code


async def test_an_open_path_opens_nothing_else() -> None:
    """Near it, below it, above it."""
    async with running(BOTH) as api:
        for path in ("/healthz/", "/healthz/x", "//healthz", "/readyz/../providers", "/Healthz"):
            assert 401 == (await ask(api, "GET", path)).status_code, path


async def test_with_a_send_token_alone_administration_is_closed() -> None:
    """Rather than open to all: the answer says which token is missing."""
    async with running(SEND_ONLY) as api:
        assert 202 == (await ask(api, "POST", "/send-email", "s3nd")).status_code
        answer = await ask(api, "GET", "/providers", "s3nd")

        assert 403 == answer.status_code
        assert "admin_token" in problem_in(answer)["detail"]


async def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token there is, whatever the first one says, by `hmac.compare_digest` on octets."""
    compared: list[tuple[bytes, bytes]] = []

    def watching(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(guard, "compare_digest", watching)
    async with running(BOTH) as api:
        for token in ("adm1n", "s3nd", "wrong"):
            compared.clear()
            await ask(api, "GET", "/statuses", token)
            assert [(token.encode(), b"adm1n"), (token.encode(), b"s3nd")] == compared


async def test_refusals_are_logged_without_what_was_sent() -> None:
    """A token mistyped by one character is nearly a token."""
    async with running(BOTH) as api:
        await ask(api, "GET", "/statuses/ann@example.org", "adm1n2")

        assert [("info", "request_refused", {"status": 401, "code": "unauthorized"})] == api.log.lines


# --- token-less loopback


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:8025", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8025", "127.8.8.8:80"),
        "[0:0:0:0:0:0:0:1]:80",
    ],
)
async def test_a_loopback_name_is_answered(host: str) -> None:
    """With any port: it may be mapped."""
    async with running() as api:
        assert 200 == (await ask(api, "GET", "/statuses", host=host)).status_code


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8025", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0"),
        *("192.168.0.1", "127.0.0.1:8025:1", "::1", "[::2]", "localhost:", "", "[127.0.0.1", "2130706433"),
        *("127.0.0.1@evil.example", "localhost ", "localhost:x"),
    ],
)
async def test_another_name_is_a_page_from_elsewhere(host: str) -> None:
    """DNS rebinding: `evil.example` may lead to 127.0.0.1, and its pages could read what we answer."""
    async with running() as api:
        for method, path in [*FOR_SENDERS, *FOR_ADMINS]:
            answer = await ask(api, method, path, host=host)
            assert 403 == answer.status_code, path
        for method, path in OPEN:
            assert 200 == (await ask(api, method, path, host=host)).status_code
        assert "foreign_host" == problem_in(await ask(api, "GET", "/statuses", host=host))["code"]


async def test_with_tokens_any_name_will_do() -> None:
    """A page from elsewhere has no token."""
    async with running(ADMIN_ONLY) as api:
        assert 200 == (await ask(api, "GET", "/statuses", "adm1n", host="mail.example.org")).status_code


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:3000", "http://localhost:8025", ""]
)
async def test_a_page_from_elsewhere_can_t_have_anything_done(origin: str) -> None:
    """A form that posts to loopback needs nobody's leave, but browsers say where it comes from."""
    async with running() as api:
        answer = await ask(api, "POST", "/providers/primary/pause", origin=origin)

        assert (403, "foreign_origin") == (answer.status_code, problem_in(answer)["code"])


async def test_a_page_of_our_own_may_call() -> None:
    """Where origin and host are the same."""
    async with running() as api:
        answer = await ask(api, "POST", "/providers/primary/pause", origin="http://127.0.0.1:8025")

        assert 200 == answer.status_code


def test_an_open_interface_for_everybody_can_t_be_made() -> None:
    """The configuration refuses it first; a mistake there must not open it."""
    with pytest.raises(ValueError, match="only loopback"):
        HttpOptions(loopback_only=False)
    with pytest.raises(ValueError, match="only loopback"):
        HttpOptions(send_token="s3nd", loopback_only=False)


# --- paths that lead nowhere, and mistakes of ours


async def test_errors_of_the_router_are_problems_too() -> None:
    """404 and 405 like all others; no redirects."""
    async with running() as api:
        nowhere = await ask(api, "GET", "/nowhere")
        wrong = await ask(api, "GET", "/send-email")
        slash = await ask(api, "POST", "/send-email/")

        assert (404, "not_found") == (nowhere.status_code, problem_in(nowhere)["code"])
        assert (405, "method_not_allowed") == (wrong.status_code, problem_in(wrong)["code"])
        assert "POST" == wrong.headers["allow"]
        assert 404 == slash.status_code


@dataclass
class Broken:
    """Something that fails in a way nobody thought of."""

    text: str

    def __getattr__(self, name: str) -> Any:
        async def fail(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError(self.text)

        return fail


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/send-email"), ("GET", "/statuses"), ("GET", "/providers")]
)
async def test_a_mistake_of_ours_tells_nothing(method: str, path: str) -> None:
    """500 to the client; type and place, but no text, to the log: it could hold an address."""
    secret = "ann@example.org"
    broken = Broken(secret)
    async with running(change=lambda service: without_worker(service, reader=broken, operator=broken)) as api:
        object.__setattr__(api.service, "acceptor", broken)
        answer = await ask(api, method, path)

        assert (500, "internal") == (answer.status_code, problem_in(answer)["code"])
        assert secret not in answer.text
        assert "RuntimeError" not in answer.text
        [(level, word, fields)] = api.log.lines
        assert ("error", "request_failed") == (level, word)
        assert "RuntimeError" == fields["error"]
        assert "test_http_guard.py" in fields["where"]
        assert secret not in repr(api.log.lines)


async def test_a_failure_in_the_middle_of_an_answer_is_logged_only() -> None:
    """What has been begun can't be begun again."""
    log, sent = Log(), list[Any]()

    async def breaking(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    async def send(message: Any) -> None:
        sent.append(message["type"])

    guarded = Guard(breaking, HttpOptions(), Logbook(log))
    await guarded(
        {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}, _nothing, send
    )

    assert ["http.response.start"] == sent
    assert ["request_failed"] == [word for _, word, _ in log.lines]


async def _nothing() -> Any:
    raise AssertionError
