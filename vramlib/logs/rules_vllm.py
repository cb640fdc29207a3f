"""What vLLM prints while it starts, from 0.6 (V0 engine) to 0.33.

Source: the log calls of vllm/worker/worker.py (0.6.2 to 0.8.5), vllm/v1/worker/gpu_worker.py,
vllm/v1/worker/gpu_model_runner.py, vllm/v1/core/kv_cache_utils.py and vllm/utils/mem_utils.py of the
packages 0.6.2, 0.6.4, 0.6.6, 0.7.3, 0.8.5, 0.10.2, 0.11.2, 0.14.1, 0.16.0 to 0.22.0, 0.24.0 to 0.27.1,
0.29.0, 0.31.0 and 0.33.0.
"""

from __future__ import annotations

from typing import Any

from vramlib.logs.rules import MiB, Rule
from vramlib.logs.rules import rule as plain_rule


def rule(key: str, pattern: str, words: str, **more: Any) -> Rule:
    """A rule of vLLM."""
    return plain_rule("vllm", key, pattern, words, **more)


SETTINGS = (
    rule("LLM engine (v", r"LLM engine \(v<engine_version word>\)",
        "vLLM {engine_version} starts with these settings", name="settings"),
    rule("LLM engine with config:", r"LLM engine with config:",
        "vLLM starts with these settings", name="settings"),
    rule("non-default args:", r"non-default args:",
        "settings that differ from the engine's own", name="settings"),
    rule("args: Namespace(", r"args: Namespace\(", "settings of the server", name="settings"),
    rule("erver version ", r"vLLM (?:API )?server version <engine_version word>",
        "vLLM {engine_version}", name="launch"),
    rule("vLLM Version", r"vLLM Version\s{1,40}: <engine_version word>", "vLLM {engine_version}"),
    rule(" version ", r"█.{0,60} version <engine_version word>", "vLLM {engine_version}", name="launch"),
    rule("max_num_batched_tokens=",
        r"[Cc]hunked prefill is enabled with max_num_batched_tokens=<max_num_batched_tokens>",
        "one step takes at most {max_num_batched_tokens} tokens: this sets the activation peak"),
    rule("Using max model len", r"Using max model len <max_model_len>",
        "the longest sequence is {max_model_len} tokens"),
)  # fmt: skip

WEIGHTS = (
    rule("Loading model weights took", r"Loading model weights took <weights_bytes> GB",
        "weights of one rank, with the allocator's rounding: {weights_bytes}", until="0.8"),
    rule("Loading model weights took", r"Loading model weights took <weights_bytes> MB",
        "weights of one rank: {weights_bytes}", unit=MiB, until="0.4"),
    rule("odel loading took", r"[Mm]odel loading took <weights_bytes> GB",
        "weights of one rank, with the allocator's rounding: {weights_bytes}", since="0.7.3", until="0.8"),
    rule("odel loading took", r"[Mm]odel loading took <weights_bytes> GiB",
        "weights of one rank, with the allocator's rounding and any draft model: {weights_bytes}",
        since="0.8"),
)  # fmt: skip

PROFILE_V0 = (
    rule("Memory profiling results:",
        r"total_gpu_memory=<gpu_total_bytes>GiB initial_memory_usage=<used_before_profile_bytes>GiB "
        r"peak_torch_memory=<torch_peak_bytes>GiB "
        r"memory_usage_post_profile=<used_after_profile_bytes>Gi[bB] "
        r"non_torch_memory=<outside_torch_bytes>GiB kv_cache_size=<kv_pool_bytes>GiB(?: "
        r"gpu_memory_utilization=<gpu_memory_utilization>)?",
        "profile run: of {gpu_total_bytes}, PyTorch peaked at {torch_peak_bytes} (weights included), "
        "{outside_torch_bytes} lay outside it (the CUDA context and other processes included), "
        "{kv_pool_bytes} are left for KV cache", since="0.6.0", until="0.6.4"),
    rule("x gpu_memory_utilization",
        r"total_gpu_memory \(<gpu_total_bytes>GiB\) x gpu_memory_utilization "
        r"\(<gpu_memory_utilization>\) = <requested_bytes>GiB",
        "the engine plans with {gpu_memory_utilization} of {gpu_total_bytes}: {requested_bytes}",
        since="0.6.5", until="0.8"),
    rule("model weights take", r"model weights take <weights_bytes>GiB;", "of that, weights take {weights_bytes}",
        since="0.6.5", until="0.8"),
    rule("non_torch_memory takes", r"non_torch_memory takes <non_torch_bytes>GiB;",
        "growth outside PyTorch takes {non_torch_bytes}", since="0.6.5", until="0.8"),
    rule("activation peak memory takes", r"PyTorch activation peak memory takes <activation_peak_bytes>GiB;",
        "the activation peak takes {activation_peak_bytes}", since="0.6.5", until="0.8"),
    rule("memory reserved for KV Cache is", r"the rest of the memory reserved for KV Cache is <kv_pool_bytes>GiB",
        "{kv_pool_bytes} are left for KV cache", since="0.6.5", until="0.8"),
)  # fmt: skip

PROFILE_V1 = (
    rule("worker init memory snapshot",
        r"free_memory=<free_at_start_bytes>GiB, total_memory=<gpu_total_bytes>GiB",
        "before the model is loaded {free_at_start_bytes} of {gpu_total_bytes} are free", since="0.14"),
    rule("worker requested memory", r"worker requested memory: <requested_bytes>GiB",
        "the engine plans with {requested_bytes}", since="0.14"),
    rule("Requested memory:",
        r"Initial free memory: <free_at_start_bytes> GiB; Requested memory: <gpu_memory_utilization> "
        r"\(util\), <requested_bytes> GiB",
        "{free_at_start_bytes} were free at start; the engine plans with {gpu_memory_utilization} of the "
        "card: {requested_bytes}", since="0.10"),
    rule("Free memory after profiling:",
        r"Free memory after profiling: <free_after_profile_bytes> GiB \(total\)",
        "after the profile run {free_after_profile_bytes} of the card are free", since="0.10"),
    rule("non-torch forward increase",
        r"Total non KV cache memory: <non_kv_bytes>GiB; torch peak memory increase: "
        r"<activation_peak_bytes>GiB; non-torch forward increase memory: <non_torch_bytes>GiB; weights "
        r"memory: <weights_bytes>GiB",
        "profile run: weights {weights_bytes}, activation peak {activation_peak_bytes}, growth outside "
        "PyTorch {non_torch_bytes}; together {non_kv_bytes} that are not KV cache", since="0.9",
        until="0.26"),
    rule("total consumed",
        r"Total non KV cache memory: <non_kv_bytes>GiB; torch peak memory increase: "
        r"<torch_peak_increase_bytes>GiB; total consumed \(from mem_get_info\): <consumed_bytes>GiB; "
        r"weights memory: <weights_bytes>GiB",
        "profile run: {consumed_bytes} stay in use (weights {weights_bytes}, buffers that stay, growth "
        "outside PyTorch); with the transient peak {non_kv_bytes} are not KV cache", since="0.27"),
    rule("Available KV cache memory:", r"Available KV cache memory: <kv_pool_bytes> GiB",
        "left for KV cache on this rank: {kv_pool_bytes}", since="0.8.3"),
    rule("as specified by kv_cache_memory_bytes",
        r"Initial free memory <free_at_start_bytes> GiB, reserved <kv_pool_bytes> ?GiB memory for KV "
        r"Cache",
        "the KV cache was given as {kv_pool_bytes}; gpu_memory_utilization is not used", since="0.10"),
    rule("Actual usage is",
        r"Free memory on device \(<free_at_start_bytes>/<gpu_total_bytes> GiB\) on startup\. Desired GPU "
        r"memory utilization is \(<gpu_memory_utilization>, <requested_bytes> GiB\)\. Actual usage is "
        r"<weights_bytes> GiB for weight, <activation_peak_bytes> GiB for peak activation, "
        r"<non_torch_bytes> GiB for non-torch memory, and <cuda_graph_bytes> GiB for CUDAGraph "
        r"memory.{0,400}?memory in use is <kv_pool_bytes> GiB",
        "the engine's own account: {requested_bytes} planned of {gpu_total_bytes}; weights "
        "{weights_bytes}, activation peak {activation_peak_bytes}, outside PyTorch {non_torch_bytes}, "
        "CUDA graphs {cuda_graph_bytes}; KV cache {kv_pool_bytes}", since="0.10", until="0.26"),
    rule("for consumed memory",
        r"Free memory on device \(<free_at_start_bytes>/<gpu_total_bytes> GiB\) on startup\. Desired GPU "
        r"memory utilization is \(<gpu_memory_utilization>, <requested_bytes> GiB\)\. Actual usage is "
        r"<consumed_bytes> GiB for consumed memory \(weights \+ non-torch\), <activation_peak_bytes> GiB "
        r"for peak activation, and <cuda_graph_bytes> GiB for CUDAGraph memory.{0,400}?memory in use is "
        r"<kv_pool_bytes> GiB",
        "the engine's own account: {requested_bytes} planned of {gpu_total_bytes}; weights and what "
        "stays beside them {consumed_bytes}, activation peak {activation_peak_bytes}, CUDA graphs "
        "{cuda_graph_bytes}; KV cache {kv_pool_bytes}", since="0.27"),
)  # fmt: skip

POOL = (
    rule(" blocks: ", r"# [A-Za-z]{2,8} blocks: <num_blocks>(?:, # CPU blocks: <cpu_blocks>)?",
        "the pool has {num_blocks} blocks", until="0.8"),
    rule("KV cache size:", r"KV cache size: <kv_pool_tokens> tokens",
        "the pool holds {kv_pool_tokens} tokens of KV cache", since="0.8"),
    rule("Maximum concurrency for",
        r"Maximum concurrency for <max_model_len> tokens per request: <max_concurrency>x",
        "{max_concurrency} requests of {max_model_len} tokens fit the pool at once", since="0.6.2"),
    rule("KV cache size:", r"KV cache size: [\d,]{1,20} tokens, Maximum concurrency",
        "tokens and requests in one line", name="version", since="0.29"),
    rule("Setting attention block size to",
        r"Setting attention block size to <attention_block_tokens> tokens",
        "a KV block holds {attention_block_tokens} tokens, so that it is as large as a recurrent state",
        since="0.10"),
    rule("Padding mamba page size", r"Padding mamba page size by <page_padding_percent>%",
        "recurrent states are padded by {page_padding_percent} % to the size of a KV block", since="0.10"),
    rule("padding layers, may waste",
        r"Add <padding_layers> padding layers, may waste at most <padding_percent>%",
        "layers of different kinds share blocks: up to {padding_percent} % of the pool is padding",
        since="0.10"),
    rule("Auto-fit max_model_len: reduced", r"reduced from <model_limit> to <max_model_len> to fit",
        "the longest sequence was cut from {model_limit} to {max_model_len} tokens, the most that fits "
        "the pool", since="0.14"),
    rule("num_gpu_blocks_override",
        r"Overriding num_gpu_blocks=(?P<profiled_blocks>[1-9]\d{0,12}) with num_gpu_blocks_override=<num_blocks>",
        "the number of blocks was given: {num_blocks} instead of {profiled_blocks}"),
    rule("num_gpu_blocks_override", r"num_gpu_blocks=0 with num_gpu_blocks_override=<trial_blocks>",
        "for a trial of CUDA graphs the pool has {trial_blocks} blocks for a moment", since="0.17"),
    rule("after num_gpu_blocks is", r"after num_gpu_blocks is: <num_blocks>", "the pool has {num_blocks} blocks"),
)  # fmt: skip

GRAPHS = (
    rule("Graph capturing finished",
        r"Graph capturing finished in <seconds> secs?, took <cuda_graph_bytes> GiB",
        "CUDA graphs took {cuda_graph_bytes} (by the free memory before and after)", name="captured"),
    rule("CUDA graph memory:", r"Estimated CUDA graph memory: <cuda_graph_estimated_bytes> GiB total",
        "the engine expects CUDA graphs to take {cuda_graph_estimated_bytes}", since="0.17"),
    rule("CUDA graph pool memory:",
        r"CUDA graph pool memory: <cuda_graph_bytes> GiB \(actual\), <cuda_graph_estimated_bytes> GiB "
        r"\(estimated\)",
        "CUDA graphs took {cuda_graph_bytes}; the engine had expected {cuda_graph_estimated_bytes}",
        since="0.19"),
    rule("graph memory profiling is enabled",
        r"graph memory profiling is enabled.{0,160}?current "
        r"--gpu-memory-utilization=<gpu_memory_utilization> is equivalent to "
        r"--gpu-memory-utilization=<utilization_without_graphs>",
        "the graphs' expected size is taken from the KV cache: {gpu_memory_utilization} now gives what "
        "{utilization_without_graphs} gave before", name="graphs_charged", since="0.18"),
    rule("graph memory profiling is disabled", r"graph memory profiling is disabled",
        "the graphs come on top of the plan", name="graphs_free", since="0.20"),
    rule("graph memory profiling will be enabled",
        r"In v0\.\d{1,3}, CUDA graph memory profiling will be enabled",
        "in this version the graphs come on top of the plan", name="graphs_free", since="0.17",
        until="0.19"),
    rule("Application startup complete", r"Application startup complete",
        "the server is ready", name="serving"),
    rule("Sleep mode freed", r"Sleep mode freed <slept_bytes> GiB memory, <still_used_bytes> GiB",
        "sleep mode gave {slept_bytes} back, {still_used_bytes} stay in use"),
)  # fmt: skip

RULES: tuple[Rule, ...] = (*SETTINGS, *WEIGHTS, *PROFILE_V0, *PROFILE_V1, *POOL, *GRAPHS)
