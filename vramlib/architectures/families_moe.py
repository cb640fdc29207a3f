"""Mixture-of-experts and latent-attention families, as traits that differ from a dense relative's.

Source: transformers 5.23, models/<model_type>/modeling_<model_type>.py; the model repositories' own
modelling files for deepseek, bailing_moe and grok-1.
"""

from __future__ import annotations

from vramlib.architectures.families import Traits
from vramlib.architectures.families_dense import COHERE, HUNYUAN, LLAMA, POST_NORMS, QWEN3, fused


def experts(prefix: str, gate: str, up: str, down: str) -> dict[str, str]:
    """Names of a family's expert matrices."""
    return {"expert_gate": prefix + gate, "expert_up": prefix + up, "expert_down": prefix + down}


STORED_3D = experts("mlp.experts.", "gate_up_proj", "gate_up_proj", "down_proj")
W1_W3_W2 = experts("block_sparse_moe.experts.*.", "w1.weight", "w3.weight", "w2.weight")
ATTENTION = LLAMA.but(mlp_bias=False)
MIXTRAL = ATTENTION.but(names={"router": "block_sparse_moe.gate"} | W1_W3_W2)
DEEPSEEK = Traits(qkv_bias="attention_bias", o_bias="attention_bias")
DEEPSEEK_V3 = DEEPSEEK.but(correction="float32")
GLM_MOE = Traits(
    qkv_bias="attention_bias", qk_norm="head", qk_norm_if="use_qk_norm", correction="float32", rotary=0.5
)
GRANITE_MOE = ATTENTION.but(
    names={"router": "block_sparse_moe.router.layer", "shared_gate_proj": "shared_mlp.input_linear"}
    | {"shared_up_proj": "shared_mlp.input_linear", "shared_down_proj": "shared_mlp.output_linear"}
    | experts("block_sparse_moe.", "input_linear.weight", "input_linear.weight", "output_linear.weight"),
)
GROK_NORMS = ("pre_attn_norm", "post_attn_norm", "pre_moe_norm", "post_moe_norm")
GPT_OSS = Traits(
    qkv_bias="attention_bias=true", o_bias="attention_bias=true", expert_bias=True, sinks=True,
    names={"router": "mlp.router"} | STORED_3D,
)  # fmt: skip
DBRX = Traits(
    norms=("norm_attn_norm.norm_1", "norm_attn_norm.norm_2"), final_norm="norm_f", embed="wte",
    names=fused("norm_attn_norm.attn.Wqkv")
    | {"o": "norm_attn_norm.attn.out_proj", "router": "ffn.router.layer"}
    | experts("ffn.experts.mlp.", "w1", "v1", "w2"),
)  # fmt: skip
GROK = Traits(
    tied=True, norms=GROK_NORMS, final_norm="norm", embed="embed_tokens",
    names={"router": "moe_block.gate"}
    | experts("moe_block.experts.*.", "linear.weight", "linear_v.weight", "linear_1.weight"),
)  # fmt: skip
BAILING = Traits(
    qkv_bias="use_qkv_bias", o_bias="use_bias", qk_norm="head", qk_norm_if="use_qk_norm",
    names=fused("attention.query_key_value")
    | {"o": "attention.dense", "q_norm": "attention.query_layernorm", "k_norm": "attention.key_layernorm"},
)  # fmt: skip


MOE: dict[str, Traits] = {
    "mixtral": MIXTRAL,
    "phimoe": MIXTRAL.but(norm_bias=True, head_bias="lm_head_bias"),
    "minimax_m2": MIXTRAL.but(
        qk_norm="all", correction="float32", names={"correction": "block_sparse_moe.e_score_correction_bias"}
    ),
    "qwen2_moe": Traits(qkv_bias="qkv_bias=true", shared_gate=True, names={"shared": "mlp.shared_expert"}),
    "qwen3_moe": QWEN3,
    **dict.fromkeys(("qwen3_vl_moe", "qwen3_vl_moe_text"), QWEN3.but(names=STORED_3D)),
    **dict.fromkeys(("qwen3_omni_moe_text", "qwen3_omni_moe_thinker"), QWEN3),
    "olmoe": ATTENTION.but(qk_norm="all"),
    "flex_olmo": ATTENTION.but(qk_norm="all", norms=POST_NORMS),
    **dict.fromkeys(("granitemoe", "granitemoeshared"), GRANITE_MOE),
    "granitemoe_swa": GRANITE_MOE.but(sinks=True),
    "cohere2_moe": COHERE.but(qk_norm=""),
    "mellum": QWEN3,
    **dict.fromkeys(("exaone_moe", "hy_v3"), QWEN3.but(correction="float32")),
    **dict.fromkeys(("deepseek", "deepseek_v2", "mistral4"), DEEPSEEK),
    **dict.fromkeys(("deepseek_v3", "kimi_k2", "kimi_k25", "glm4_moe_lite"), DEEPSEEK_V3),
    **dict.fromkeys(("glm4_moe", "glm4v_moe", "glm4v_moe_text"), GLM_MOE),
    "solar_open": GLM_MOE.but(rotary=1.0),
    "dots1": QWEN3.but(correction="float32"),
    "ernie4_5_moe": Traits(
        qkv_bias="use_bias", o_bias="use_bias", mlp_bias="use_bias", tied=True, correction="float32",
        names={"correction": "mlp.moe_statics.e_score_correction_bias"},
    ),
    "hunyuan_v1_moe": HUNYUAN.but(names={"router": "mlp.gate.wg", "shared": "mlp.shared_mlp"}),
    "gpt_oss": GPT_OSS,
    "dbrx": DBRX,
    "grok-1": GROK,
    "bailing_moe": BAILING,
    "bailing_moe_v2": BAILING.but(qk_norm_if="use_qk_norm=true", correction="float32",
                                  names={"correction": "mlp.gate.expert_bias"}),
}  # fmt: skip
