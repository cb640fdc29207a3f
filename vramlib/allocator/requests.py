"""Requests of a serving engine over time: when they come, how long they are, what they share."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: a prompt, the tokens it will generate, and the prefix it shares with others.

    Parameters
    ----------
    name : unlike any other [-]
    arrival_step : engine step at which it comes [-]
    prompt_tokens, new_tokens : length of the prompt and of the answer [token]
    prefix : name of a shared beginning, such as a system prompt; "" shares nothing [-]
    prefix_tokens : how much of the prompt that is [token]

    Examples
    --------
    >>> Request(name="a", prompt_tokens=100, new_tokens=20).total_tokens
    120
    """

    name: str
    prompt_tokens: int
    new_tokens: int
    arrival_step: int = 0
    prefix: str = ""
    prefix_tokens: int = 0

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.new_tokens < 1 or self.arrival_step < 0:
            raise ValueError(
                f"{self.name}: prompt_tokens {self.prompt_tokens}, new_tokens {self.new_tokens}, arrival_step"
                f" {self.arrival_step}; at least one token in, one out, and a step from 0 work"
            )
        if not 0 <= self.prefix_tokens <= self.prompt_tokens or (self.prefix_tokens and not self.prefix):
            raise ValueError(
                f"{self.name}: a shared prefix has a name and at most prompt_tokens tokens,"
                f" not {self.prefix!r} and {self.prefix_tokens}"
            )

    @property
    def total_tokens(self) -> int:
        """Prompt and answer [token]."""
        return self.prompt_tokens + self.new_tokens

    def content(self, first: int, end: int) -> tuple[str, int, int]:
        """What stands in these tokens, as a key: the same for all requests as long as it is within a shared prefix."""
        return (self.prefix if end <= self.prefix_tokens else f"request {self.name}", first, end)


def poisson_requests(
    *,
    num_requests: int,
    requests_per_step: float,
    seed: int = 0,
    mean_prompt_tokens: float = 161.31,
    mean_new_tokens: float = 337.99,
    spread: float = 1.0,
    max_model_len: int = 2048,
    prefix_tokens: int = 0,
) -> list[Request]:
    """Requests that come independently of each other, with many short ones and a few long ones.

    Formula: gaps ~ Exponential(rate);  lengths ~ LogNormal(ln mean − σ²/2, σ), cut to max_model_len

    Parameters
    ----------
    num_requests : how many [-]
    requests_per_step : mean arrivals during one engine step [1/step]
    seed : same seed, same requests [-]
    mean_prompt_tokens, mean_new_tokens : means before the cut; by default those of ShareGPT conversations [token]
    spread : σ of the logarithm; 0 makes all alike, 1 gives a long tail (chosen, not fitted) [-]
    max_model_len : prompt and answer together are at most this [token]
    prefix_tokens : a system prompt put in front of every prompt [token]

    Returns
    -------
    Requests in order of arrival [-]

    Raises
    ------
    ValueError: a rate that is not positive, or no room for a prompt after the prefix.

    Examples
    --------
    >>> for r in poisson_requests(num_requests=3, requests_per_step=0.5):
    ...     print(r.arrival_step, r.prompt_tokens, r.new_tokens)
    3 210 88
    4 197 186
    9 99 647

    Source
    ------
    Means: Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention" (2023),
    figure 11.
    """
    if requests_per_step <= 0 or max_model_len < prefix_tokens + 2:
        raise ValueError(
            f"requests_per_step {requests_per_step}, max_model_len {max_model_len}, prefix_tokens {prefix_tokens};"
            " a positive rate, and room for two tokens after the prefix, work"
        )
    chance, time, found = random.Random(seed), 0.0, []
    for i in range(num_requests):
        time += chance.expovariate(requests_per_step)
        prompt = prefix_tokens + _length(chance, mean_prompt_tokens, spread)
        prompt = min(prompt, max_model_len - 1)
        found.append(
            Request(
                name=str(i),
                arrival_step=int(time),
                prompt_tokens=prompt,
                new_tokens=min(_length(chance, mean_new_tokens, spread), max_model_len - prompt),
                prefix="system" if prefix_tokens else "",
                prefix_tokens=min(prefix_tokens, prompt),
            )
        )
    return found


def _length(chance: random.Random, mean: float, spread: float) -> int:
    return max(1, round(chance.lognormvariate(math.log(mean) - spread**2 / 2, spread)))
