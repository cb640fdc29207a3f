"""An engine's loop over a KV memory: running requests grow, waiting ones are admitted, the youngest is preempted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from vramlib.allocator.block_tables import Cell, Hit, Usage
from vramlib.allocator.requests import Request


class KvMemory(Protocol):
    """What the loop asks of a KV memory; ``PagedCache`` and ``ContiguousSlots`` answer."""

    def fits(self, request: Request, in_flight_tokens: int) -> bool:
        """A request could be served alone."""

    def match(self, request: Request, length: int) -> Hit:
        """The part of a request that is still there."""

    def admit(self, request: Request, hit: Hit, tokens: int) -> bool:
        """Begin a request, if there is room."""

    def grow(self, request: Request, computed: int, tokens: int) -> bool:
        """Make room for more tokens, if there is."""

    def release(self, request: Request) -> None:
        """Take everything back."""

    def usage(self, computed: dict[Request, int]) -> Usage:
        """What is held, what is filled."""

    def cells(self, computed: dict[Request, int]) -> tuple[Cell, ...]:
        """Everything, as it is drawn."""


class Moment(NamedTuple):
    """The engine after one step: requests by where they are, and what the KV memory holds.

    ``live_tokens`` are tokens computed for running requests; ``preemptions``, ``finished`` and ``hit_tokens`` (tokens
    that a cached prefix saved) count from the beginning.
    """

    step: int
    running: int
    waiting: int
    finished: int
    preemptions: int
    hit_tokens: int
    live_tokens: int
    usage: Usage


@dataclass(slots=True)
class Sequence:
    """A request on its way: ``length`` tokens known so far, ``computed`` of them in the KV memory."""

    request: Request
    length: int
    computed: int = 0
    new_tokens: int = 0


@dataclass(slots=True)
class Engine:
    """A scheduler as vLLM's: each step has a budget of tokens; running requests go first, in order of admission.

    Parameters
    ----------
    memory : where keys and values are kept [-]
    max_num_seqs : requests that run at once, at most [-]
    max_num_batched_tokens : tokens computed in one step; longer prompts are cut into chunks [token]

    Source
    ------
    vLLM 0.33, vllm/v1/core/sched/scheduler.py schedule.
    """

    memory: KvMemory
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    running: list[Sequence] = field(default_factory=list)
    waiting: deque[Sequence] = field(default_factory=deque)
    finished: int = 0
    preemptions: int = 0
    hit_tokens: int = 0
    steps: int = 0

    def add(self, request: Request) -> None:
        """Put a request at the end of the queue.

        Raises
        ------
        ValueError: it would not fit even alone.
        """
        if not self.memory.fits(request, self.max_num_batched_tokens):
            raise ValueError(
                f"request {request.name} of {request.total_tokens} tokens does not fit the KV memory even alone;"
                " give it more memory, or shorten the request"
            )
        self.waiting.append(Sequence(request, request.prompt_tokens))

    def step(self) -> Moment:
        """One forward: grow what runs, admit what waits, compute, and let go of what is done."""
        scheduled, budget, preempted = self._grow_running(self.max_num_batched_tokens)
        if not preempted:
            scheduled += self._admit_waiting(budget)
        for sequence, tokens in scheduled:
            self._compute(sequence, tokens)
        self.steps += 1
        return self.moment()

    def moment(self) -> Moment:
        """The engine as it is now."""
        computed = self.computed
        counts = (len(self.running), len(self.waiting), self.finished, self.preemptions, self.hit_tokens)
        return Moment(self.steps, *counts, sum(computed.values()), self.memory.usage(computed))

    @property
    def computed(self) -> dict[Request, int]:
        """Tokens in the KV memory for each running request [token]."""
        return {sequence.request: sequence.computed for sequence in self.running}

    def cells(self) -> tuple[Cell, ...]:
        """The KV memory as it is drawn."""
        return self.memory.cells(self.computed)

    def _grow_running(self, budget: int) -> tuple[list[tuple[Sequence, int]], int, bool]:
        scheduled: list[tuple[Sequence, int]] = []
        before = self.preemptions
        while budget and len(scheduled) < len(self.running):
            sequence = self.running[len(scheduled)]
            tokens = min(sequence.length - sequence.computed, budget)
            if self.memory.grow(sequence.request, sequence.computed, sequence.computed + tokens):
                scheduled.append((sequence, tokens))
                budget -= tokens
            else:
                self._preempt_youngest()
        return scheduled, budget, self.preemptions > before

    def _preempt_youngest(self) -> None:
        sequence = self.running.pop()
        self.memory.release(sequence.request)
        sequence.computed = 0
        self.waiting.appendleft(sequence)
        self.preemptions += 1

    def _admit_waiting(self, budget: int) -> list[tuple[Sequence, int]]:
        scheduled = []
        while self.waiting and budget and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            hit = self.memory.match(sequence.request, sequence.length)
            tokens = min(sequence.length - hit.tokens, budget)
            if not self.memory.admit(sequence.request, hit, hit.tokens + tokens):
                break
            self.running.append(self.waiting.popleft())
            sequence.computed, budget = hit.tokens, budget - tokens
            self.hit_tokens += hit.tokens
            scheduled.append((sequence, tokens))
        return scheduled

    def _compute(self, sequence: Sequence, tokens: int) -> None:
        """Tokens get their keys and values; the last one of a sequence gives the next token."""
        sequence.computed += tokens
        if sequence.computed < sequence.length:
            return
        sequence.length += 1
        sequence.new_tokens += 1
        if sequence.new_tokens == sequence.request.new_tokens:
            self.running.remove(sequence)
            self.memory.release(sequence.request)
            self.finished += 1


def serve(requests: Iterable[Request], engine: Engine) -> Iterator[Moment]:
    """Play requests on an engine until all are done, one moment after each step.

    Parameters
    ----------
    requests : what comes, and when [-]
    engine : a fresh engine [-]

    Returns
    -------
    One moment for each step [-]

    Examples
    --------
    >>> from vramlib.allocator import ContiguousSlots, PagedCache, plain_plan, poisson_requests
    >>> requests = poisson_requests(num_requests=200, requests_per_step=0.2, max_model_len=2048)
    >>> memory = {
    ...     "contiguous": ContiguousSlots(capacity_bytes=4 << 30, max_model_len=2048, bytes_per_token=131_072),
    ...     "paged": PagedCache(plain_plan(bytes_per_token=131_072), num_blocks=2049),
    ... }
    >>> for name, kv in memory.items():
    ...     moments = list(serve(requests, Engine(kv)))
    ...     held = sum(m.usage.held_bytes for m in moments)
    ...     print(name, max(m.running for m in moments), f"{sum(m.usage.waste_bytes for m in moments) / held:.1%}")
    contiguous 16 73.4%
    paged 78 1.4%
    """
    coming = deque(sorted(requests, key=lambda r: r.arrival_step))
    while coming or engine.waiting or engine.running:
        while coming and coming[0].arrival_step <= engine.steps:
            engine.add(coming.popleft())
        yield engine.step()
