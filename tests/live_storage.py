"""A stand-in for a GPU's allocator: counts the bytes of every live tensor, on fake tensors that have none.

``LiveStorage`` watches each operation (TorchDispatchMode); a storage counts from the operation that makes it until the
last reference to it is gone.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveStorage(TorchDispatchMode):
    """Bytes of all live storages made inside the block, and their peak."""

    def __init__(
        self, malloc: Callable[[int], Any] | None = None, free: Callable[[Any], None] | None = None
    ) -> None:
        super().__init__()
        self.live_bytes = self.peak_bytes = 0
        self._held: dict[int, tuple[Any, int, Any]] = {}
        self._malloc, self._free = malloc or (lambda size: None), free or (lambda block: None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.see(leaf)
        return out

    def see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._held or not size:
            return
        block = self._malloc(size)
        self._held[key] = (weakref.ref(storage, lambda _: self._release(key)), size, block)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def _release(self, key: int) -> None:
        _, size, block = self._held.pop(key)
        self.live_bytes -= size
        self._free(block)

    def restart_peak(self) -> None:
        self.peak_bytes = self.live_bytes
