"""What the HTTP interface has to know beside the service it serves."""

from __future__ import annotations

from dataclasses import dataclass

from domain.content import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """`request_max`: octets of a request's body. `loopback_only`: nobody else on the network can reach us.

    Without any token everything is open, so then it has to be loopback only, and the `Host` has to be a loopback
    name: a page from elsewhere can't reach us through a name of its own that it points at 127.0.0.1.
    """

    admin_token: str | None = None
    send_token: str | None = None
    request_max: int = 40_000_000
    default_from: Address | None = None
    loopback_only: bool = True
    version: str = ""

    def __post_init__(self) -> None:
        if self.admin_token is None and not self.loopback_only:
            raise ValueError("without an admin token only loopback may be served")

    @property
    def has_tokens(self) -> bool:
        """Whether callers have to say who they are."""
        return self.admin_token is not None or self.send_token is not None
