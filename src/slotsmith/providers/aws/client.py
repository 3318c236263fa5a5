"""Calls to AWS: boto3 in threads, one attempt each, with a deadline, typed errors and token buckets."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any, Final

from slotsmith.clock import Clock
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.aws.buckets import Buckets
from slotsmith.providers.aws.errors import AwsError, from_answer
from slotsmith.providers.aws.rows import EVENT, pick_rows
from slotsmith.providers.aws.threads import Threads

CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 30.0
"""Seconds. botocore's own are 60 each, which with its retries is minutes for one call."""
LONGEST_WAIT: Final = 10.0
"""Seconds for which a call waits for its turn; if it would be longer, the caller is told that it is throttled."""
SKEW_NOTICED: Final = 3.0
"""Seconds by which clocks must differ to be believed: the Date header has whole seconds, and takes its time."""

# As many calls at a time as the describe bucket refills in a second or so would be of no use; pools share these.
_THREADS = 8
_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Connection:
    """Whose account, where, and how it is reached. Pools with equal ones share a client."""

    region: str
    profile: str | None = None
    endpoint_url: str | None = None
    use_fips: bool = False


class AwsClient:
    """All services of one account and region. `calls` counts what was asked, by operation."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self.calls: Counter[str] = Counter()
        self.skew = 0.0
        self._clock = clock
        self._buckets = Buckets()
        self._threads = Threads(_THREADS)
        # A long poll would keep one of the others from its work.
        self._waiting = Threads(1)
        self._making = threading.Lock()
        self._clients: dict[str, Any] = {}

    async def call(
        self,
        operation: str,
        *,
        service: str = "ec2",
        region: str = "",
        instances: int = 0,
        wait: bool = False,
        **params: Any,
    ) -> Any:
        """One call, once. The answer as boto3 gives it.

        `instances` is how many it starts or ends; `wait` says that it is a long poll; `region` is another one than the
        connection's.

        Raises:
            AwsError: an error of any kind. One that is not definite leaves open what was done.
        """
        if service == "ec2":
            await self._turn(operation, instances)
        self.calls[operation] += 1
        threads = self._waiting if wait else self._threads
        answer, date = await threads.run(partial(self._run, service, region, operation, params))
        if date:
            self._look_at_clock(date)
        if isinstance(answer, AwsError):
            if answer.kind is ErrorKind.THROTTLED and service == "ec2":
                self._buckets.empty(operation, self._clock.now())
            raise answer
        return answer

    async def pages(self, operation: str, key: str, **params: Any) -> AsyncIterator[Any]:
        """The items under `key` of all pages, a page at a time. Raises AwsError."""
        token = ""
        while True:
            if token:
                params["NextToken"] = token
            answer = await self.call(operation, **params)
            yield answer.get(key, [])
            token = answer.get("NextToken") or ""
            if not token:
                return

    async def _turn(self, operation: str, instances: int) -> None:
        now = self._clock.now()
        seconds = self._buckets.wait(operation, instances, now)
        if seconds > LONGEST_WAIT:
            text = f"{operation}: not sent, for EC2 would throttle it; its limit allows it in {seconds:.0f} s"
            raise AwsError(ErrorKind.THROTTLED, text)
        self._buckets.take(operation, instances, now)
        if seconds > 0:
            await self._clock.sleep(seconds)

    def _run(self, service: str, region: str, operation: str, params: Mapping[str, Any]) -> tuple[Any, str]:
        """In a thread. Errors are returned, not raised: what a thread raises keeps its frames, and they the params."""
        import botocore.exceptions as failures
        from botocore import xform_name

        try:
            client = self._client(service, region)
            answer = getattr(client, xform_name(operation))(**params)
            return answer, _date(answer)
        except failures.ClientError as error:
            return from_answer(operation, error.response), _date(error.response)
        except (
            failures.NoCredentialsError,
            failures.PartialCredentialsError,
            failures.CredentialRetrievalError,
        ) as error:
            return AwsError(ErrorKind.DENIED, f"{operation}: {error}"), ""
        except (failures.ParamValidationError, failures.ProfileNotFound, failures.NoRegionError, ValueError) as error:
            return AwsError(ErrorKind.INVALID, f"{operation}: {' '.join(str(error).split())}"), ""
        except Exception as error:  # noqa: BLE001 - botocore lets through whatever its HTTP client, parser or files raise
            return AwsError(ErrorKind.TRANSIENT, f"{operation}: {type(error).__name__}: {error}"), ""

    def _client(self, service: str, region: str) -> Any:
        """A client for each service and region; boto3's clients may be shared by threads, its sessions may not."""
        key = f"{service}/{region}"
        with self._making:
            if key not in self._clients:
                self._clients[key] = self._make(service, region)
            return self._clients[key]

    def _make(self, service: str, region: str) -> Any:
        from botocore.config import Config
        from botocore.session import Session

        connection = self.connection
        # A session of its own for each client: making one in two threads at a time corrupts a shared one.
        session = Session(profile=connection.profile)
        session.register_component("data_loader", _loader())
        client = session.create_client(
            service,
            region_name=region or connection.region,
            endpoint_url=connection.endpoint_url,
            config=Config(
                # The caller has the rule for when to try again; botocore would even repeat "no capacity".
                retries={"mode": "standard", "total_max_attempts": 1},
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                max_pool_connections=_CONNECTIONS,
                use_fips_endpoint=connection.use_fips or None,
                user_agent_extra="slotsmith",
            ),
        )
        if service == "ec2":
            client.meta.events.register(EVENT, pick_rows)
        return client

    def _look_at_clock(self, date: str) -> None:
        """How far AWS's clock is ahead of ours, in seconds; any answer tells, so that nothing is asked for it."""
        try:
            skew = parsedate_to_datetime(date).timestamp() + 0.5 - self._clock.now()
        except ValueError:
            return
        # Steady, or what is listed would differ each time by what an answer took.
        if abs(skew - self.skew) > SKEW_NOTICED:
            self.skew = float(round(skew)) if abs(skew) > SKEW_NOTICED else 0.0


@cache
def _loader() -> Any:
    """botocore's descriptions of services, read once: EC2's alone takes some tenths of a second."""
    from botocore.session import Session

    return Session().get_component("data_loader")


def _date(answer: Any) -> str:
    metadata = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    return str(metadata.get("HTTPHeaders", {}).get("date", ""))
