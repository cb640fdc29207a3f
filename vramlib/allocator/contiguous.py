"""One slot of ``max_model_len`` tokens for each request: what engines did before paging, and what static caches do."""

from __future__ import annotations

from vramlib.allocator.block_tables import Cell, Hit, Usage
from vramlib.allocator.requests import Request


class ContiguousSlots:
    """Slots of full length, set aside when a request comes, whatever it will use.

    Formula: slots = ⌊pool / (max_model_len · bytes per token)⌋

    Parameters
    ----------
    capacity_bytes : memory for all slots [byte]
    max_model_len : tokens that a slot has room for [token]
    bytes_per_token : keys and values of one token in all layers [byte]

    Raises
    ------
    ValueError: no room for one slot.

    Examples
    --------
    >>> slots = ContiguousSlots(capacity_bytes=10 << 30, max_model_len=8192, bytes_per_token=131_072)
    >>> slots.num_slots
    10
    """

    def __init__(self, *, capacity_bytes: int, max_model_len: int, bytes_per_token: int) -> None:
        self.num_slots = capacity_bytes // (max_model_len * bytes_per_token)
        if not self.num_slots:
            raise ValueError(
                f"{capacity_bytes:,} bytes hold no slot of {max_model_len} tokens of {bytes_per_token:,} bytes;"
                " shorten max_model_len, or give more memory"
            )
        self.capacity_bytes, self.max_model_len = capacity_bytes, max_model_len
        self.bytes_per_token = bytes_per_token
        self._slots: list[Request | None] = [None] * self.num_slots

    def fits(self, request: Request, in_flight_tokens: int) -> bool:
        """The whole request fits a slot."""
        return request.total_tokens <= self.max_model_len

    def match(self, request: Request, length: int) -> Hit:
        """Nothing is shared between slots."""
        return Hit(0, ())

    def admit(self, request: Request, hit: Hit, tokens: int) -> bool:
        """Give a request the first slot that is empty."""
        if None not in self._slots:
            return False
        self._slots[self._slots.index(None)] = request
        return True

    def grow(self, request: Request, computed: int, tokens: int) -> bool:
        """There is room up to ``max_model_len``."""
        return tokens <= self.max_model_len

    def release(self, request: Request) -> None:
        """Empty the request's slot."""
        self._slots[self._slots.index(request)] = None

    def usage(self, computed: dict[Request, int]) -> Usage:
        """Whole slots are held; what is filled are the tokens computed so far."""
        taken = [request for request in self._slots if request is not None]
        live, held = sum(computed[r] for r in taken), len(taken) * self.max_model_len
        return Usage(live, held, live * self.bytes_per_token, held * self.bytes_per_token)

    def cells(self, computed: dict[Request, int]) -> tuple[Cell, ...]:
        """Every slot in order, as it is drawn."""
        size = self.max_model_len
        return tuple(
            Cell(i, "free", size) if r is None else Cell(i, "held", size, computed[r], (r.name,))
            for i, r in enumerate(self._slots)
        )
