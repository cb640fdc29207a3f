"""For each kind of failure the function that names the part, what is missing and what to change."""

from __future__ import annotations

from collections.abc import Callable

from vramlib.logs import remedies_llamacpp as llamacpp
from vramlib.logs import remedies_sglang as sglang
from vramlib.logs import remedies_torch as torch
from vramlib.logs import remedies_vllm as vllm
from vramlib.logs.case import Answer, Case

BY_KIND: dict[str, Callable[[Case], Answer]] = {
    "torch_oom": torch.torch_oom,
    "driver_oom": torch.driver_oom,
    "free_below_requested": vllm.free_below,
    "no_kv": vllm.no_kv,
    "one_request": vllm.one_request,
    "sampler_oom": vllm.sampler,
    "profile_disturbed": vllm.disturbed,
    "static_too_small": sglang.static,
    "graph_oom": sglang.graphs,
    "pool_full": sglang.pool_full,
    "buffer_oom": llamacpp.buffer,
    "buffer_kv": llamacpp.buffer,
    "buffer_model": llamacpp.buffer,
    "buffer_compute": llamacpp.buffer,
    "ollama_memory": llamacpp.ollama,
}
