"""What SGLang prints while it starts, from 0.4 to 0.5. Its "GB" is 2^30 bytes.

Source: the log calls of sglang/srt/model_executor/model_runner.py, mem_cache/memory_pool.py and
managers/scheduler.py of the packages 0.4.0 and 0.4.6, and of mem_cache/kv_cache_configurator.py and
model_executor/model_runner_components/ of 0.5.23.
"""

from __future__ import annotations

from typing import Any

from vramlib.logs.rules import Rule
from vramlib.logs.rules import rule as plain_rule


def rule(key: str, pattern: str, words: str, **more: Any) -> Rule:
    """A rule of SGLang."""
    return plain_rule("sglang", key, pattern, words, **more)


RULES: tuple[Rule, ...] = (
    rule("ServerArgs(", r"server_args=ServerArgs\(", "SGLang starts with these settings", name="settings"),
    rule("Init torch distributed ends",
        r"Init torch distributed ends\..{0,60}?mem usage=<communication_bytes> GB",
        "processes are connected; CUDA context growth and communication took {communication_bytes}"),
    rule("Load weight begin", r"Load weight begin\. avail mem=<free_at_start_bytes> GB",
        "{free_at_start_bytes} are free before the model is loaded"),
    rule("Load weight end",
        r"Load weight end\..{0,40}?type=<architecture word>.{0,200}?avail mem=<free_after_load_bytes> GB, "
        r"mem usage=<weights_bytes> GB",
        "{architecture} is loaded: weights {weights_bytes}, {free_after_load_bytes} are still free"),
    rule("Load weight end",
        r"Load weight end\..{0,40}?type=<architecture word>.{0,200}?avail mem=<free_after_load_bytes> GB(?!, mem)",
        "{architecture} is loaded: {free_after_load_bytes} are still free"),
    rule("KV Cache is allocated",
        r"KV Cache is allocated\..{0,60}?#tokens: <kv_pool_tokens>, K size: <k_bytes> GB, V size: "
        r"<v_bytes> GB",
        "the pool holds {kv_pool_tokens} tokens: keys {k_bytes}, values {v_bytes}"),
    rule("KV Cache is allocated",
        r"KV Cache is allocated\..{0,60}?#tokens: <kv_pool_tokens>, KV size: <kv_pool_bytes> GB",
        "the pool holds {kv_pool_tokens} tokens (latents): {kv_pool_bytes}"),
    rule("KV Cache is allocated", r"KV Cache is allocated\. K size: <k_bytes> GB, V size: <v_bytes> GB",
        "keys take {k_bytes}, values {v_bytes}"),
    rule("KV cache allocated",
        r"Post-capture KV sizing: KV cache allocated\..{0,60}?#tokens: <kv_pool_tokens>, KV size: "
        r"<kv_pool_bytes> GB",
        "after the graphs, the pool holds {kv_pool_tokens} tokens: {kv_pool_bytes}"),
    rule("SWAKVPool mem usage",
        r"SWAKVPool mem usage: <swa_pool_bytes> GB, swa size: <swa_tokens>, full size: <full_tokens>",
        "sliding-window layers hold {swa_tokens} tokens, the others {full_tokens}: together "
        "{swa_pool_bytes}"),
    rule("Mamba Cache is allocated", r"conv_state size: <conv_bytes>GB, ssm_state size: <ssm_bytes>GB",
        "recurrent states take {conv_bytes} and {ssm_bytes}, whatever the context"),
    rule("Memory pool end", r"Memory pool end\. avail mem=<free_after_pool_bytes> GB",
        "with the pool allocated {free_after_pool_bytes} are free for activations and graphs"),
    rule("graph begin",
        r"Capture (?P<role>[a-z ]{0,30})(?:cuda|CUDA) graph begin\..{0,120}?avail "
        r"mem=<free_before_graphs_bytes> GB",
        "{free_before_graphs_bytes} are free before CUDA graphs are captured"),
    rule("graph end", r"Capture cuda graph end\. Time elapsed: [\d.]{1,12} s\.?\s{0,4}$",
        "CUDA graphs are captured", name="captured"),
    rule("graph end",
        r"Capture (?P<role>[a-z ]{0,30})(?:cuda|CUDA) graph end\..{0,600}?mem usage=<cuda_graph_bytes> GB",
        "CUDA graphs took {cuda_graph_bytes}", name="captured"),
    rule("max_total_num_tokens=",
        r"max_total_num_tokens=<kv_pool_tokens>(?:, chunked_prefill_size=<max_num_batched_tokens>)?",
        "the pool holds {kv_pool_tokens} tokens; a prefill step takes {max_num_batched_tokens}",
        name="serving"),
    rule("max_running_requests=", r"max_total_num_tokens=.{0,120}?max_running_requests=<max_num_seqs>",
        "at most {max_num_seqs} requests run at once"),
    rule("context_len=", r"max_total_num_tokens=.{0,160}?context_len=<max_model_len>",
        "the longest sequence is {max_model_len} tokens"),
    rule("available_gpu_mem=", r"available_gpu_mem=<free_at_end_bytes> GB",
        "{free_at_end_bytes} of the card are free at the end"),
    rule("Using KV cache dtype", r"Using KV cache dtype: torch\.<kv_type word>",
        "a cached number is {kv_type}"),
    rule("larger than the profiled value",
        r"max_total_tokens=<asked_tokens> is larger than the profiled value <profiled_tokens>",
        "{asked_tokens} tokens were asked for, there is room for {profiled_tokens}"),
    rule("The server is fired up", r"The server is fired up", "the server is ready", name="serving"),
)  # fmt: skip
