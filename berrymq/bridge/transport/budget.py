"""One memory budget for everything that a node holds for others; the largest holders are cut down first.

Each holder opens an `Account` and counts its bytes there. Bytes that several accounts share are counted once.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from berrymq.bridge.protocol.reliable_stream import Account as StreamAccount
from berrymq.bridge.protocol.reliable_stream import Total

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

__all__ = ["MAX_HELD_BYTES", "Account", "Budget"]

MAX_HELD_BYTES = 256 * 1024 * 1024

WARN_SECONDS = 10.0
"""The least interval between two warnings."""

_log = logging.getLogger("berrymq")


class Account(StreamAccount):
    """The bytes held for one client. Not thread-safe.

    Args:
        budget: the budget that it is part of.
        shed: called with a number of bytes when memory is short, on any thread, with few locks held: the
            holder then reduces what it holds to that, if it can, or ends.
    """

    __slots__ = ("_budget", "shed")

    def __init__(self, budget: Budget, shed: Callable[[int], object]) -> None:
        super().__init__(budget)
        self.shed = shed
        self._budget = budget

    def share(self, data: bytes, by: int) -> None:
        """Note that a counted bytes object may be held by others too; see `Budget.share`."""
        self._budget.share(data, by)

    def hold(self, data: bytes) -> None:
        """Count a bytes object that other accounts may hold as well; `release` it."""
        self.grow(len(data))
        self._budget.share(data, 1)

    def release(self, data: bytes) -> None:
        """Stop counting a bytes object; it must be the very object that `hold` was given."""
        self._budget.share(data, -1)
        self.grow(-len(data))

    def hold_all(self, batches: Collection[bytes], by: int) -> None:
        """Count many bytes objects as `hold` does (1), or no longer (-1)."""
        self.grow(by * sum(map(len, batches)))
        self._budget.share_all(batches, by)

    def close(self) -> None:
        """Count nothing any more; shared objects are to be released before."""
        self._budget.accounts.pop(self, None)
        self.grow(-self.held)
        self.shed = int  # not the holder's method, which would be a cycle for the garbage collector


class Budget(Total):
    """Adds up what is held, and has the largest holders shed when it exceeds the limit.

    Args:
        limit: in bytes.
    """

    def __init__(self, limit: int = MAX_HELD_BYTES) -> None:
        self.limit = limit
        self.accounts: dict[Account, None] = {}
        self._shared: dict[int, int] = {}
        """By the identity of a bytes object, how many times it is held."""
        self._sharing = threading.Lock()
        self._relieving = False
        self._warned_at = float("-inf")

    def open(self, shed: Callable[[int], object]) -> Account:
        """Open an account; see `Account`."""
        account = Account(self, shed)
        self.accounts[account] = None
        return account

    def share(self, data: bytes, by: int) -> None:
        """Note that a bytes object is held once more (1) or less (-1).

        Each holder's account grows by it; this subtracts what is counted twice.
        """
        self.share_all((data,), by)

    def share_all(self, batches: Iterable[bytes], by: int) -> None:
        """Note that many bytes objects are held once more (1) or less (-1), as `share` does."""
        with self._sharing:
            shared, twice = self._shared, 0
            for data in batches:
                key = id(data)
                before = shared.get(key, 0)
                if before + by:
                    shared[key] = before + by
                    if before:
                        twice += len(data)
                else:
                    del shared[key]
            self.held -= by * twice

    def relieve(self, now: float) -> bool:
        """Have the largest holders shed down to nine tenths of the limit; return False below the limit.

        Call it with few locks held.
        """
        if self.held <= self.limit or self._relieving:
            return False
        self._relieving = True
        try:
            if now - self._warned_at > WARN_SECONDS:
                self._warned_at = now
                _log.warning("%d MiB wait for slow peers: the largest backlogs are dropped", self.held >> 20)
            self._shed(self.limit * 9 // 10)
        finally:
            self._relieving = False
        return True

    def _shed(self, enough: int) -> None:
        """Cut the largest down, a step at a time: what they share may leave them more than a fair share."""
        accounts = sorted(self.accounts, key=lambda account: account.held, reverse=True)
        sizes = [account.held for account in accounts]
        least = fair_share(sizes, enough)
        accounts = [account for account in accounts if account.held > least]
        target = max(sizes, default=0)
        while target > least:
            target = max(least, target * 3 // 4)
            for account in accounts:
                if self.held <= enough:
                    return
                if account.held > target and account in self.accounts:
                    account.shed(target)


def fair_share(sizes: list[int], limit: int) -> int:
    """Return the size to which the largest have to be cut down, so that all together are within the limit."""
    left, share = limit, limit
    for index, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - index)
        if size > share:
            break
        left -= size
    return share
