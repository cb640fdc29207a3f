"""The plain decoder's cache: grown by concatenation, as DynamicCache does, or made at once, as StaticCache."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vramlib.specs import ModelSpec


@dataclass(kw_only=True)
class Cache:
    """Keys and values of every layer: grown by concatenation, or written into room for ``max_tokens`` made at once."""

    max_tokens: int = 0
    tokens: int = 0
    keys: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def append(self, layer: int, key: Any, value: Any, torch: Any) -> tuple[Any, Any]:
        """Add one step's keys and values of a layer; what attention reads."""
        if self.max_tokens:
            return self._write(layer, key, value)
        if layer == len(self.keys):
            self.keys.append(key)
            self.values.append(value)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], key], dim=2)
            self.values[layer] = torch.cat([self.values[layer], value], dim=2)
        return self.keys[layer], self.values[layer]

    def _write(self, layer: int, key: Any, value: Any) -> tuple[Any, Any]:
        end = self.tokens + key.shape[2]
        for kept, new in ((self.keys[layer], key), (self.values[layer], value)):
            kept[:, :, self.tokens : end] = new
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]


def static_cache(
    model: ModelSpec, torch: Any, *, batch_size: int, max_tokens: int, device: str, dtype: Any
) -> Cache:
    """A cache with room for every token from the start."""
    cache = Cache(max_tokens=max_tokens)
    for _ in range(model.num_hidden_layers):
        for kept, width in ((cache.keys, model.head_dim), (cache.values, model.v_head_dim or model.head_dim)):
            shape = (batch_size, model.num_key_value_heads, max_tokens, width)
            kept.append(torch.zeros(shape, dtype=dtype, device=device))
    return cache
