"""Dense families, as traits that differ from Llama's.

Source: transformers 5.23, models/<model_type>/modeling_<model_type>.py; the model repositories' own
modelling files for internlm2, baichuan, chatglm, qwen, exaone and minicpm, which transformers does not
have.
"""

from __future__ import annotations

from vramlib.architectures.families import Traits

ROTARY_HALF = 0.5
FUSED_MLP = {"gate": "mlp.gate_up_proj", "up": "mlp.gate_up_proj"}
POST_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")
GEMMA_NORMS = (
    "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
)  # fmt: skip
GLM4_NORMS = ("input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm")


def fused(name: str) -> dict[str, str]:
    """Queries, keys and values stored as one tensor of this name."""
    return {"q": name, "k": name, "v": name}


LLAMA = Traits(qkv_bias="attention_bias", o_bias="attention_bias", mlp_bias="mlp_bias")
QWEN2 = Traits(qkv_bias=True)
QWEN3 = Traits(qkv_bias="attention_bias", o_bias="attention_bias", qk_norm="head")
GEMMA = Traits(qkv_bias="attention_bias", o_bias="attention_bias", tied=True)
GLM = Traits(qkv_bias="attention_bias", names=FUSED_MLP, rotary=ROTARY_HALF)
OLMO2 = LLAMA.but(qk_norm="all", norms=POST_NORMS)

GPT2 = Traits(
    qkv_bias=True, o_bias=True, mlp_bias=True, norm_bias=True, gated=False, tied=True, rotary=0,
    norms=("ln_1", "ln_2"), final_norm="ln_f", embed="wte", positions=("wpe", 0),
    names=fused("attn.c_attn") | {"o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"},
)  # fmt: skip
GPTJ = GPT2.but(
    qkv_bias=False, o_bias=False, norms=("ln_1",), tied=False, positions=("", 0), rotary=1.0, head_bias=True,
    names={"q": "attn.q_proj", "k": "attn.k_proj", "v": "attn.v_proj", "o": "attn.out_proj"}
    | {"up": "mlp.fc_in", "down": "mlp.fc_out"},
)  # fmt: skip
NEOX = Traits(
    qkv_bias="attention_bias=true", o_bias="attention_bias=true", mlp_bias=True, norm_bias=True, gated=False,
    final_norm="final_layer_norm", embed="embed_in", head="embed_out", rotary=0.25,
    names=fused("attention.query_key_value")
    | {"o": "attention.dense", "up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"},
)  # fmt: skip
BLOOM = NEOX.but(
    qkv_bias=True, o_bias=True, final_norm="ln_f", embed="word_embeddings", head="lm_head", rotary=0,
    tied=True, embed_norm="word_embeddings_layernorm",
    names=fused("self_attention.query_key_value") | {"o": "self_attention.dense"},
)  # fmt: skip
OPT = Traits(
    qkv_bias="enable_bias=true", o_bias="enable_bias=true", mlp_bias="enable_bias=true", norm_bias=True,
    gated=False, norms=("self_attn_layer_norm", "final_layer_norm"), final_norm="final_layer_norm", tied=True,
    rotary=0,
    positions=("embed_positions", 2), names={"o": "self_attn.out_proj", "up": "fc1", "down": "fc2"},
)  # fmt: skip
PHI = Traits(
    qkv_bias=True, o_bias=True, mlp_bias=True, norm_bias=True, head_bias=True, gated=False,
    rotary=ROTARY_HALF, norms=("input_layernorm",), final_norm="final_layernorm", qk_norm="head",
    qk_norm_if="qk_layernorm",
    qk_norm_bias=True, names={"o": "self_attn.dense", "up": "mlp.fc1", "down": "mlp.fc2"},
)  # fmt: skip
STARCODER2 = Traits(
    qkv_bias="use_bias=true", o_bias="use_bias=true", mlp_bias="use_bias=true", norm_bias=True, gated=False,
    tied=True, names={"up": "mlp.c_fc", "down": "mlp.c_proj"},
)  # fmt: skip
STABLELM = Traits(
    qkv_bias="use_qkv_bias", norm_bias=True, qk_norm="each", qk_norm_if="qk_layernorm", rotary=0.25,
    names={"q_norm": "self_attn.q_layernorm", "k_norm": "self_attn.k_layernorm"},
)  # fmt: skip
COHERE = LLAMA.but(
    mlp_bias=False, norms=("input_layernorm",), tied=True, qk_norm="all", qk_norm_if="use_qk_norm"
)
EXAONE = Traits(
    norms=("ln_1", "ln_2"), final_norm="ln_f", embed="wte",
    names={k: f"attn.attention.{k}_proj" for k in "qkv"}
    | {"o": "attn.attention.out_proj", "gate": "mlp.c_fc_0", "up": "mlp.c_fc_1", "down": "mlp.c_proj"},
)  # fmt: skip
MPT = Traits(
    qkv_bias="!no_bias=true", o_bias="!no_bias=true", mlp_bias="!no_bias=true", norm_bias="!no_bias=true",
    gated=False, tied=True, rotary=0, norms=("norm_1", "norm_2"), final_norm="norm_f", embed="wte",
    names=fused("attn.Wqkv") | {"o": "attn.out_proj", "up": "ffn.up_proj", "down": "ffn.down_proj"},
)  # fmt: skip
NEMOTRON = LLAMA.but(gated=False, norm_bias=True, rotary=ROTARY_HALF)
HUNYUAN = LLAMA.but(
    qk_norm="head", qk_norm_if="use_qk_norm=true", tied=True,
    names={"q_norm": "self_attn.query_layernorm", "k_norm": "self_attn.key_layernorm"},
)  # fmt: skip
INTERNLM2 = Traits(
    qkv_bias="bias", o_bias="bias", norms=("attention_norm", "ffn_norm"), embed="tok_embeddings",
    head="output",
    names=fused("attention.wqkv")
    | {"o": "attention.wo", "gate": "feed_forward.w1", "up": "feed_forward.w3", "down": "feed_forward.w2"},
)  # fmt: skip
CHATGLM = Traits(
    qkv_bias="add_qkv_bias", o_bias="add_bias_linear", mlp_bias="add_bias_linear", rotary=ROTARY_HALF,
    final_norm="final_layernorm", embed="word_embeddings", head="output_layer",
    names=fused("self_attention.query_key_value") | {"o": "self_attention.dense"}
    | {"gate": "mlp.dense_h_to_4h", "up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"},
)  # fmt: skip
PERSIMMON = NEOX.but(
    qkv_bias=True, o_bias=True, qk_norm="head", qk_norm_if="qk_layernorm=true", qk_norm_bias=True,
    rotary=ROTARY_HALF, final_norm="final_layernorm", embed="embed_tokens", head="lm_head",
    names=fused("self_attn.query_key_value") | {"o": "self_attn.dense"}
    | {"q_norm": "self_attn.q_layernorm", "k_norm": "self_attn.k_layernorm"},
)  # fmt: skip

DENSE: dict[str, Traits] = {
    **dict.fromkeys(("llama", "mistral", "ministral", "ministral3", "granite", "smollm3"), LLAMA),
    **dict.fromkeys(("helium", "minicpm", "xverse", "iquestcoder", "yi", "cwm"), LLAMA),
    **dict.fromkeys(("qwen2", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"), QWEN2),
    **dict.fromkeys(("qwen2_5_omni", "qwen2_5_omni_text", "qwen2_audio"), QWEN2),
    **dict.fromkeys(("qwen3", "qwen3_vl", "qwen3_vl_text"), QWEN3),
    "mimo": Traits(qkv_bias="attention_bias=true"),
    "arcee": LLAMA.but(gated=False),
    "granite_swa": LLAMA.but(sinks=True),
    "nanochat": LLAMA.but(gated=False, norms=(), final_norm=""),
    "jais2": LLAMA.but(
        gated=False, norm_bias=True, qkv_bias="attention_bias=true", o_bias="attention_bias=true",
        mlp_bias="mlp_bias=true",
    ),
    "seed_oss": LLAMA.but(qkv_bias="attention_bias=true", o_bias="attention_out_bias"),
    "internlm": Traits(qkv_bias="bias=true", o_bias="bias=true"),
    "internlm2": INTERNLM2,
    "internlm3": Traits(qkv_bias="qkv_bias", o_bias="bias", mlp_bias="bias"),
    "ernie4_5": Traits(qkv_bias="use_bias", o_bias="use_bias", mlp_bias="use_bias", tied=True),
    "baichuan": Traits(names=fused("self_attn.W_pack")),
    "exaone": EXAONE,
    "exaone4": QWEN3.but(norms=POST_NORMS),
    **dict.fromkeys(("phi3", "phi3_v"), Traits(names=fused("self_attn.qkv_proj") | FUSED_MLP)),
    "phi": PHI,
    "gemma": GEMMA,
    "gemma2": GEMMA.but(norms=GEMMA_NORMS),
    **dict.fromkeys(("gemma3", "gemma3_text"), GEMMA.but(norms=GEMMA_NORMS, qk_norm="head", local_rope=True)),
    "vaultgemma": GEMMA.but(norms=("input_layernorm", "pre_feedforward_layernorm")),
    "glm": GLM,
    "glm4": GLM.but(norms=GLM4_NORMS),
    **dict.fromkeys(("glm4v", "glm4v_text", "glm46v"), GLM.but(norms=GLM4_NORMS, qkv_bias=True)),
    **dict.fromkeys(("idefics3", "smolvlm"), LLAMA),
    "chatglm": CHATGLM,
    "olmo": LLAMA.but(norms=(), final_norm=""),
    **dict.fromkeys(("olmo2", "olmo3"), OLMO2),
    "cohere": COHERE,
    "cohere2": COHERE.but(qk_norm=""),
    "stablelm": STABLELM,
    "starcoder2": STARCODER2,
    "nemotron": NEMOTRON,
    "apertus": LLAMA.but(
        gated=False, qk_norm="head", qk_norm_if="qk_norm=true",
        norms=("attention_layernorm", "feedforward_layernorm"),
    ),
    "hunyuan_v1_dense": HUNYUAN,
    "persimmon": PERSIMMON,
    **dict.fromkeys(("gpt2", "gpt-sw3"), GPT2),
    "gpt_bigcode": GPT2,
    "gpt_neo": GPT2.but(
        qkv_bias=False,
        names={k: f"attn.attention.{k}_proj" for k in "qkv"} | {"o": "attn.attention.out_proj"},
    ),
    "gptj": GPTJ,
    "codegen": GPTJ.but(names=fused("attn.qkv_proj")),
    "gpt_neox": NEOX,
    "bloom": BLOOM,
    "mpt": MPT,
    "opt": OPT,
    "minicpm3": LLAMA.but(tied=True),
    "youtu": LLAMA.but(tied=True),
}  # fmt: skip
