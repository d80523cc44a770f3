"""Calls to a provisioning system: one POST an order, with the order's number as its idempotency key."""

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx2
import msgspec

from consumers.activation import Purchase
from consumers.effects import InDoubt, Postponed, Refused

LONGEST_REQUEST = timedelta(hours=1)
"""What a `Retry-After` may ask for at most."""
ALREADY_DONE = 409
NOT_ABOUT_THE_ORDER = (401, 407, 408, 425, 429)
"""Answers that speak of who we are or when we come, and would come to any other order, too."""


class Provisioner:
    """Asks for activations, each over a connection of its own, so that none fails because an idle one was closed."""

    def __init__(self, url: str, token: str | None = None, *, timeout: float = 5) -> None:
        """`token`: a bearer token; `timeout`: seconds that connecting, or waiting for the answer, may take."""
        self._url = url
        self._client = httpx2.Client(
            headers={"User-Agent": "seatline"} | ({"Authorization": f"Bearer {token}"} if token else {}),
            verify=ssl.create_default_context(),
            timeout=timeout,
            limits=httpx2.Limits(max_keepalive_connections=0),
            # Neither proxies nor passwords that an environment has for other programs.
            trust_env=False,
        )

    def activate(self, purchase: Purchase) -> None:
        """Returns once it is activated; raises Postponed, Refused, or InDoubt if no answer came."""
        try:
            # Only the status is read, so no answer is too long.
            with self._client.stream(
                "POST",
                self._url,
                content=msgspec.json.encode(purchase),
                headers={"Content-Type": "application/json", "Idempotency-Key": purchase.order_number},
            ) as response:
                answer = response
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as failure:
            raise Postponed(_words(failure)) from failure
        except httpx2.RequestError as failure:
            raise InDoubt(_words(failure)) from failure
        _accept(answer)


def _accept(answer: httpx2.Response) -> None:
    status, said = answer.status_code, f"the provisioning system answered with {answer.status_code}"
    if answer.is_success or status == ALREADY_DONE:
        return
    if answer.is_redirect:
        raise Postponed(f"{said}: redirects are not followed, name the place itself in SEATLINE_PROVISIONING_URL")
    if answer.is_client_error and status not in NOT_ABOUT_THE_ORDER:
        raise Refused(said)
    raise Postponed(said, wait=_requested_wait(answer.headers.get("Retry-After", "")))


def _requested_wait(retry_after: str) -> timedelta:
    """Seconds or a date, as RFC 9110 has them; what can't be read asks for nothing."""
    if retry_after.isascii() and retry_after.isdigit():
        return min(timedelta(seconds=int(retry_after[:9])), LONGEST_REQUEST)
    with suppress(ValueError):
        then = parsedate_to_datetime(retry_after)
        return min(then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC), LONGEST_REQUEST)
    return timedelta()


def _words(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}".removesuffix(": ")
