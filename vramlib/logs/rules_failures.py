"""How a start or a request ends for want of memory: PyTorch, vLLM, SGLang, llama.cpp and ollama.

Each rule's ``name`` is the kind of failure, which ``failures`` turns into what is missing and what to change.

Source: c10/cuda/CUDACachingAllocator.cpp of PyTorch (the wording of 1.x and of 2.1 and later); the
exceptions of vllm/v1/core/kv_cache_utils.py, vllm/v1/core/kv_cache_planning.py, vllm/v1/worker/utils.py and
vllm/worker/worker.py; of sglang/srt/model_executor/model_runner.py and mem_cache/kv_cache_configurator.py;
ggml/src/ggml-cuda/ggml-cuda.cu, ggml/src/ggml-alloc.c and src/llama-kv-cache.cpp of llama.cpp.
"""

from __future__ import annotations

from vramlib.logs.rules import MiB, Rule, rule

TORCH = (
    rule("", "ried to allocate", r"out of memory[.,]? ?Tried to allocate <tried_bytes size>",
        "PyTorch tried to allocate {tried_bytes} and there was not enough", name="torch_oom"),
    rule("", "total capac",
        r"GPU <device> has a total capaci?ty of <gpu_total_bytes size> of which <free_bytes size> is free",
        "of the card's {gpu_total_bytes}, {free_bytes} were free", name="torch_oom_detail"),
    rule("", "total capacity;",
        r"\(GPU <device>; <gpu_total_bytes size> total capacity; <allocated_bytes size> already "
        r"allocated; <free_bytes size> free; <reserved_bytes size> (?:reserved|cached)",
        "of the card's {gpu_total_bytes}, {free_bytes} were free; PyTorch had {allocated_bytes} in use "
        "of {reserved_bytes} it held", name="torch_oom_detail"),
    rule("", "memory in use", r"(?:this process|Process <pid>) has <in_use_bytes size> memory in use",
        "one process had {in_use_bytes} in use", name="torch_oom_process"),
    rule("", "allocated by PyTorch", r"<allocated_bytes size> is allocated by PyTorch",
        "tensors took {allocated_bytes}", name="torch_oom_detail"),
    rule("", "reserved by PyTorch but", r"<unallocated_bytes size> is reserved by PyTorch but unallocated",
        "{unallocated_bytes} were held by PyTorch and not in use: gaps", name="torch_oom_detail"),
    rule("", "CUDA error: out of memory", r"CUDA error: out of memory",
        "the driver refused memory", name="driver_oom"),
    rule("", "Cuda failure", r"Cuda failure (?:2 )?'out of memory'",
        "a communication library found no memory outside PyTorch's pool", name="driver_oom"),
)  # fmt: skip

VLLM = (
    rule("vllm", "is less than desired GPU memory utilization",
        r"Free memory on device ?<device word>? ?\(<free_at_start_bytes>/<gpu_total_bytes> GiB\) on "
        r"startup is less than desired GPU memory utilization \(<gpu_memory_utilization>, "
        r"<requested_bytes> GiB\)",
        "refused: {free_at_start_bytes} of {gpu_total_bytes} are free, the engine wants {requested_bytes}",
        name="free_below_requested"),
    rule("vllm", "No available memory for the cache blocks", r"No available memory for the cache blocks",
        "refused: weights and the profile run leave nothing for KV cache", name="no_kv"),
    rule("vllm", "Cannot auto-fit max_model_len", r"Cannot auto-fit max_model_len",
        "refused: not even one token fits", name="no_kv"),
    rule("vllm", "larger than the maximum number of tokens",
        r"max seq len \(<max_model_len>\) is larger than the maximum number of tokens that can be stored "
        r"in KV cache \(<kv_pool_tokens>\)",
        "refused: one request of {max_model_len} tokens does not fit a pool of {kv_pool_tokens}",
        name="one_request"),
    rule("vllm", "cache is needed, which is larger",
        r"max seq len \(<max_model_len>\), \(<kv_bytes_at_max_model_len> Gi?B KV cache is needed, which "
        r"is larger than the available KV cache memory \(<kv_pool_bytes> Gi?B\)",
        "refused: one request of {max_model_len} tokens needs {kv_bytes_at_max_model_len}, the pool has "
        "{kv_pool_bytes}", name="one_request"),
    rule("vllm", "estimated maximum model length",
        r"estimated maximum model length is <max_model_len_that_fits>",
        "the engine's own advice: at most {max_model_len_that_fits} tokens", name="one_request_detail"),
    rule("vllm", "warming up sampler", r"warming up sampler with <dummy_requests> dummy requests",
        "the sampler's warm-up for {dummy_requests} requests found no memory", name="sampler_oom"),
    rule("vllm", "Error in memory profiling", r"Error in memory profiling",
        "refused: another process gave memory back during the profile run", name="profile_disturbed"),
)  # fmt: skip

SGLANG = (
    rule("sglang", "increase --mem-fraction-static",
        r"Not enough memory\. Please try to increase --mem-fraction-static",
        "refused: weights leave nothing of the static share for KV cache", name="static_too_small"),
    rule("sglang", "leave no GPU memory for the KV cache",
        r"--mem-fraction-static=<gpu_memory_utilization>\.\s{1,2}Raise --mem-fraction-static above "
        r"<smallest_fraction>",
        "refused: with {gpu_memory_utilization} nothing is left for KV cache; it starts above "
        "{smallest_fraction}", name="static_too_small"),
    rule("sglang", "Capture cuda graph failed", r"Capture cuda graph failed",
        "CUDA graphs could not be captured", name="graph_oom"),
    rule("sglang", "Decode out of memory happened", r"Decode out of memory happened",
        "the pool ran full while decoding", name="pool_full"),
    rule("sglang", "out of memory. Try to lower", r"(?:Prefill|Decode) out of memory\. Try to lower your batch size",
        "the pool has no room for the tokens of the next step", name="pool_full"),
)  # fmt: skip

LLAMACPP = (
    rule("llama.cpp", "cudaMalloc failed: out of memory",
        r"allocating <tried_bytes> MiB on device <device>: cudaMalloc failed",
        "a buffer of {tried_bytes} did not fit card {device}", unit=MiB, name="buffer_oom"),
    rule("llama.cpp", "buffer of size",
        r"failed to allocate (?P<device>[A-Za-z]\S{0,30}) buffer of size <tried_bytes>",
        "a buffer of {tried_bytes} did not fit {device}", unit=1, name="buffer_oom"),
    rule("llama.cpp", "failed to allocate buffer for kv cache", r"failed to allocate buffer for kv cache",
        "the buffer was for keys and values", name="buffer_kv"),
    rule("llama.cpp", "unable to allocate ", r"unable to allocate <device word> buffer",
        "the buffer was for weights", name="buffer_model"),
    rule("llama.cpp", "failed to allocate compute", r"failed to allocate compute (?:buffers|pp buffers)",
        "the buffer was for one step's temporaries", name="buffer_compute"),
    rule("llama.cpp", "retrying without pipeline parallelism", r"retrying without pipeline parallelism",
        "it goes on with one copy of the inputs instead of several", name="buffer_retried"),
    rule("llama.cpp", "ggml-cuda", r"in function \S{1,80} at \S{0,200}ggml-cuda\S{0,80}:\d{1,6}",
        "it was llama.cpp that asked the driver", name="driver_oom_detail"),
    rule("llama.cpp", "requires more system memory",
        r"requires more system memory \(<tried_bytes size>\) than is available \(<free_bytes size>\)",
        "ollama needs {tried_bytes} and sees {free_bytes}", name="ollama_memory"),
)  # fmt: skip

RULES: tuple[Rule, ...] = (*TORCH, *VLLM, *SGLANG, *LLAMACPP)
