"""What a pool may launch, as its provider says it from pass to pass: prices move, and room comes and goes."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.offering import Offering
from slotsmith.providers.base import Market, Provider, ProviderError, market_of


class Sale:
    """The offerings of one pool. Between two looks they stay the same, so that whoever decides has one set of them.

    Raises:
        ProviderError: there is nothing to launch, or several offerings that cannot be compared (INVALID).
    """

    def __init__(self, provider: Provider, log: structlog.typing.FilteringBoundLogger) -> None:
        self._provider = provider
        self._log = log
        self._told: Sequence[Offering] = provider.offerings()
        self._trouble = ""
        self.offerings: tuple[Offering, ...] = checked(self._told)
        self.market: Market = market_of(provider)

    def look(self) -> bool:
        """Take in what the provider says now; whether offerings have changed. What makes no sense changes nothing."""
        self.market = market_of(self._provider)
        told = self._provider.offerings()
        if told is self._told:
            return False
        self._told = told
        try:
            found = checked(told)
        except ProviderError as error:
            if str(error) != self._trouble:
                self._log.warning("what is offered now is of no use, the last offerings stay", error=str(error))
            self._trouble = str(error)
            return False
        self._trouble = ""
        # A scheduler that counts for itself counts in instances of the first one, whatever has become the cheapest.
        first = self.offerings[0].name
        found = tuple(sorted(found, key=lambda each: each.name != first))
        changed = found != self.offerings
        if changed:
            self._log.info("offerings have changed", count=len(found))
        self.offerings = found
        return changed


def checked(offerings: Sequence[Offering]) -> tuple[Offering, ...]:
    """Raises ProviderError (INVALID): nothing to launch, or several offerings that cannot be compared."""
    if not offerings:
        raise ProviderError(ErrorKind.INVALID, "the provider offers nothing to launch")
    names = [offering.name for offering in offerings]
    unpriced = [each.name for each in offerings if not each.price]
    if len(offerings) > 1 and unpriced:
        what = f"{unpriced[0]} has no price of more than 0, and is one of {len(names)} offerings to choose from"
        raise ProviderError(ErrorKind.INVALID, what)
    if len(set(names)) < len(names):
        raise ProviderError(ErrorKind.INVALID, f"{max(names, key=names.count)} is offered twice")
    return tuple(offerings)
