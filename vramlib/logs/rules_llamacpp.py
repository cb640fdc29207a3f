"""What llama.cpp prints while it loads, in its own words and in ollama's; older names of the same lines too.

Source: the log calls of src/llama-model.cpp, src/llama-kv-cache.cpp and src/llama-context.cpp of
https://github.com/ggml-org/llama.cpp, and ollama's ml/backend/ggml/ggml.go and llm/server.go.
"""

from __future__ import annotations

from typing import Any

from vramlib.logs.rules import MiB, Rule
from vramlib.logs.rules import rule as plain_rule

SPEAKERS = {
    "CONTEXT": r"(?:llama_context|llama_new_context_with_model|llama_init_from_model): ",
    "META": r"(?:print_info|llm_load_print_meta): ",
}


def rule(key: str, pattern: str, words: str, **more: Any) -> Rule:
    """A rule of llama.cpp; sizes without a unit are MiB."""
    for name, speaker in SPEAKERS.items():
        pattern = pattern.replace(f"%{name}%", speaker)
    return plain_rule("llama.cpp", key, pattern, words, unit=MiB, **more)


def _setting(key: str, field: str, words: str, **more: Any) -> Rule:
    return rule(f"{key} ", rf"%CONTEXT%{key}\s{{1,20}}= <{field}>\s{{0,4}}$", words, **more)


def _buffer(what: str, name: str, words: str) -> Rule:
    pattern = (
        rf":\s{{1,40}}(?P<device>[A-Za-z]\S{{0,60}})\s{{1,12}}{what} buffer size =\s{{0,12}}<{name}> MiB"
    )
    return rule(f"{what} buffer size =", pattern, words, name="buffer")


BUFFERS = (
    _buffer("model", "model_buffer_bytes", "weights on {device}: {model_buffer_bytes}"),
    rule("_load_tensors",
        r"llm_load_tensors:\s{1,40}(?P<device>[A-Za-z]\S{0,60})\s{1,12}buffer size "
        r"=\s{0,12}<model_buffer_bytes> MiB",
        "weights on {device}: {model_buffer_bytes}", name="buffer"),
    _buffer("KV", "kv_buffer_bytes",
        "keys and values on {device}: {kv_buffer_bytes}, for every cell of the context, used or not"),
    _buffer("RS", "state_buffer_bytes",
        "recurrent states on {device}: {state_buffer_bytes}, whatever the context"),
    _buffer("compute", "compute_buffer_bytes",
        "one step's temporaries and logits on {device}: {compute_buffer_bytes}"),
    _buffer("output", "output_buffer_bytes", "logits for the caller on {device}: {output_buffer_bytes}"),
)  # fmt: skip

OLLAMA = (
    rule('msg="model weights"',
        r'msg="model weights" (?:device|buffer)=<device word> size="<model_buffer_bytes size>"',
        "weights on {device}: {model_buffer_bytes}", name="buffer"),
    rule('msg="kv cache"', r'msg="kv cache" (?:device|buffer)=<device word> size="<kv_buffer_bytes size>"',
        "keys and values on {device}: {kv_buffer_bytes}", name="buffer"),
    rule('msg="compute graph"',
        r'msg="compute graph" (?:device|backend)=<device word>.{0,40}? size="<compute_buffer_bytes size>"',
        "one step's temporaries on {device}: {compute_buffer_bytes}", name="buffer"),
    rule("memory.required.full=", r'memory\.required\.full="<ollama_required_bytes size>"',
        "ollama expected to need {ollama_required_bytes}; its expectation is often far above what is used"),
    rule("--ctx-size ", r"ollama\S{0,20} runner .{0,300}?--ctx-size <max_model_len>",
        "ollama asks for a context of {max_model_len} cells"),
)  # fmt: skip

SIZES = (
    rule(" cells,",
        r"size =\s{1,8}<kv_size_bytes> MiB \(\s{0,8}<cells> cells,\s{1,4}<cache_layers> "
        r"layers.{0,40}?\), K \((?P<cache_type_k>\w{1,12})\):\s{1,8}<k_bytes> MiB, V "
        r"\((?P<cache_type_v>\w{1,12})\):\s{1,8}<v_bytes> MiB",
        "{cells} cells in {cache_layers} layers: keys ({cache_type_k}) {k_bytes}, values "
        "({cache_type_v}) {v_bytes}"),
    rule("KV self size",
        r"KV self size  =\s{1,8}<kv_size_bytes> MiB, K \((?P<cache_type_k>\w{1,12})\):\s{1,8}<k_bytes> "
        r"MiB, V \((?P<cache_type_v>\w{1,12})\):\s{1,8}<v_bytes> MiB",
        "keys ({cache_type_k}) {k_bytes}, values ({cache_type_v}) {v_bytes}"),
    rule("_memory_breakdown_print",
        r"\|   - (?P<device>[A-Za-z]{1,12}\d{1,3}) .{0,80}?\| <gpu_total_bytes> = <free_at_end_bytes> \+ "
        r"\(\s{0,8}<self_bytes> =\s{1,8}<model_buffer_bytes> \+\s{1,8}<kv_buffer_bytes> "
        r"\+\s{1,8}<compute_buffer_bytes>\)",
        "{device}: of {gpu_total_bytes}, weights {model_buffer_bytes}, context {kv_buffer_bytes}, "
        "compute {compute_buffer_bytes}; {free_at_end_bytes} free", name="breakdown"),
)  # fmt: skip

SETTINGS = (
    rule("build: ", r"\bbuild: <build> \(", "llama.cpp build {build}"),
    rule("version: ", r"^\s{0,4}version: <build> \([0-9a-f]{6,12}\)", "llama.cpp build {build}"),
    rule("layers to GPU", r"offloaded <gpu_layers>/<all_layers> layers to GPU",
        "{gpu_layers} of {all_layers} layers are on the GPU", name="load"),
    rule(", compute capability", r"Device <device_number>: (?P<gpu>[^,]{1,80}), compute capability",
        "card {device_number} is a {gpu}"),
    rule("using device ",
        r"using device <device word> \((?P<gpu>[^()]{1,80})\).{0,40}? - <free_at_start_bytes> MiB free",
        "{device} is a {gpu} with {free_at_start_bytes} free"),
    rule("general.name", r"%META%general\.name\s{1,20}= (?P<model>\S.{0,120})$",
        "the file calls itself {model}"),
    rule("file type", r"%META%file type\s{1,20}= (?P<file_type>\S.{0,60})$",
        "most weights are {file_type}"),
    rule("model ftype", r"%META%model ftype\s{1,20}= (?P<file_type>\S.{0,60})$",
        "most weights are {file_type}"),
    rule("size ", r"%META%(?:file|model) size\s{1,20}= <file_bytes size> \(<bits_per_weight> BPW\)",
        "the file holds {file_bytes}, {bits_per_weight} bits a weight"),
    rule("model params", r"%META%model params\s{1,20}= <params_billion> B",
        "{params_billion} billion parameters"),
    rule("n_ctx_train", r"%META%n_ctx_train\s{1,20}= <trained_context>",
        "trained for {trained_context} tokens"),
    rule("print_info: arch ", r"print_info: arch\s{1,20}= <arch word>", "a model of the family {arch}"),
    rule("llm_load_print_meta: arch ", r"arch\s{1,20}= <arch word>", "a model of the family {arch}"),
    _setting("n_ctx", "max_model_len", "the context has {max_model_len} cells, all allocated at start",
        name="context"),
    _setting("n_batch", "max_num_batched_tokens", "a batch takes at most {max_num_batched_tokens} tokens"),
    _setting("n_ubatch", "n_ubatch", "a physical step takes {n_ubatch} tokens: this sets the compute buffer"),
    _setting("n_seq_max", "n_seq_max", "sequences that share the context: {n_seq_max}"),
    rule("flash_attn",
        r"%CONTEXT%flash_attn\s{1,20}= (?P<flash_attn>0|1|enabled|disabled|true|false)\s{0,4}$",
        "flash attention: {flash_attn}"),
    rule("Flash Attention was auto", r"Flash Attention was auto, set to (?P<flash_attn>enabled|disabled)",
        "flash attention was chosen: {flash_attn}"),
)  # fmt: skip

RULES: tuple[Rule, ...] = (*BUFFERS, *OLLAMA, *SIZES, *SETTINGS)
