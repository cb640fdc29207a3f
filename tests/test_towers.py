"""Towers: every tensor of every vision and audio encoder, against models built on the meta device."""

import json

import pytest

from vramlib._paths import data_dir
from vramlib.architectures import towers

# Parameters and tensors of everything outside the text model, counted on transformers' models built without
# memory (transformers 5.23, timm 1.0.31, meta device), from the same config.json.
CATALOGUE = {
    "Qwen--Qwen3-VL-235B-A22B-Instruct": (576388336, 351),
    "Qwen--Qwen3-VL-30B-A3B-Instruct": (538631408, 351),
    "Qwen--Qwen3-VL-8B-Instruct": (576388336, 351),
    "Qwen--Qwen3.5-122B-A10B": (451290864, 333),
    "Qwen--Qwen3.5-27B": (460730096, 333),
    "Qwen--Qwen3.5-397B-A17B": (456010480, 333),
    "Qwen--Qwen3.5-9B": (456010480, 333),
    "google--gemma-3-27b-it": (423060336, 439),
    "google--gemma-3-4b-it": (419816304, 439),
    "google--gemma-3n-E4B-it": (983281504, 825),
    "google--gemma-4-26B-A4B-it": (572792112, 354),
    "google--gemma-4-31B-it": (575741232, 354),
    "google--gemma-4-12B-it": (52379904, 11),
    "google--gemma-4-E4B-it": (478087456, 483),
    "meta-llama--Llama-3.2-11B-Vision-Instruct": (895028755, 511),
    "meta-llama--Llama-3.2-90B-Vision-Instruct": (926490131, 511),
    "meta-llama--Llama-4-Maverick-17B-128E-Instruct": (871932416, 554),
    "mistralai--Devstral-Small-2-24B-Instruct-2512": (438958080, 222),
    "mistralai--Ministral-3-3B-Instruct-2512": (420083712, 222),
    "mistralai--Mistral-Small-3.1-24B-Instruct-2503": (438958080, 222),
    "mistralai--Mistral-Small-4-119B-2603": (428472320, 222),
    # 443 tensors in transformers, which stores queries, keys and values apart; the file has them as one
    "moonshotai--Kimi-K2.5": (471143920, 443 - 27 * 4),
}
TEXT = {"hidden_size": 256}
CLIP = {"model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096}
CLIP |= {"num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14}
SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 384, "patch_size": 14}
SIGLIP |= {"intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27}
NO_HEAD = SIGLIP | {"vision_use_head": False}
SMALL_PIXTRAL = {
    "model_type": "pixtral",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
}
SMALL_PIXTRAL |= {"patch_size": 16}
INTERN = {
    "model_type": "internvl_vision",
    "hidden_size": 1024,
    "image_size": [448, 448],
    "patch_size": [14, 14],
}
INTERN |= {"num_hidden_layers": 24, "intermediate_size": 4096, "attention_bias": True}
INTERN_RMS = INTERN | {"hidden_size": 128, "num_hidden_layers": 2, "intermediate_size": 512}
INTERN_RMS |= {"attention_bias": False, "use_qk_norm": True, "norm_type": "rms_norm"}
INTERN_ORIGINAL = INTERN | {
    "model_type": "intern_vit_6b",
    "image_size": 448,
    "patch_size": 14,
    "qkv_bias": True,
}
QWEN2 = {"depth": 32, "embed_dim": 1280, "hidden_size": 256, "mlp_ratio": 4, "patch_size": 14, "in_chans": 3}
QWEN25 = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3456,
    "out_hidden_size": 256,
    "patch_size": 14,
}
MINIMAX = {"hidden_size": 1280, "num_hidden_layers": 32, "intermediate_size": 5120, "patch_size": 14}
SIGLIP2 = {"model_type": "siglip2_vision_model", "hidden_size": 768, "intermediate_size": 3072}
SIGLIP2 |= {"num_hidden_layers": 12, "num_patches": 256, "patch_size": 16, "vision_use_head": False}
ASR = {"d_model": 1024, "encoder_layers": 24, "encoder_ffn_dim": 4096, "downsample_hidden_size": 480}
ASR |= {"num_mel_bins": 128, "output_dim": 256}
WHISPER = {"d_model": 1280, "encoder_layers": 32, "encoder_ffn_dim": 5120, "num_mel_bins": 128}
VOXTRAL = {"hidden_size": 1280, "num_hidden_layers": 32, "intermediate_size": 5120, "num_mel_bins": 128}
OMNI = {"text_config": TEXT, "vision_config": {"out_hidden_size": 256, "depth": 27}}
OMNI |= {"audio_config": {"output_dim": 256, "d_model": 1280, "encoder_layers": 32, "num_mel_bins": 128}}
OTHERS = [
    ({"model_type": "llava", "vision_config": CLIP}, 303835648, 395),
    ({"model_type": "llava", "vision_config": SMALL_PIXTRAL}, 836992, 33),
    (
        {"model_type": "llava_next", "vision_config": SIGLIP, "vision_feature_layer": [-24, -20, -12, -1]},
        *(429471552, 453),
    ),
    ({"model_type": "llava_onevision", "vision_config": NO_HEAD}, 413348464, 442),
    ({"model_type": "paligemma", "vision_config": NO_HEAD}, 413282416, 439),
    ({"model_type": "internvl", "vision_config": INTERN}, 305135104, 442),
    ({"model_type": "internvl", "vision_config": INTERN_RMS}, 801152, 40),
    ({"model_type": "internvl_chat", "vision_config": INTERN_ORIGINAL}, 305135104, 442),
    ({"model_type": "qwen2_vl", "vision_config": QWEN2}, 658716416, 391),
    ({"model_type": "qwen2_5_vl", "vision_config": QWEN25}, 663933440, 390),
    (
        {
            "model_type": "minimax_m3_vl",
            "vision_config": MINIMAX,
            "text_config": {"hidden_size": 512},
            "projector_hidden_size": 512,
        },
        *(633416192, 523),
    ),
    ({"model_type": "lfm2_vl", "vision_config": SIGLIP2}, 94371840, 203),
    (
        {"model_type": "qwen3_asr", "thinker_config": {"text_config": TEXT, "audio_config": ASR}},
        315640704,
        397,
    ),
    ({"model_type": "qwen2_audio", "audio_config": WHISPER}, 637296896, 489),
    ({"model_type": "voxtral", "audio_config": VOXTRAL}, 638345216, 489),
    ({"model_type": "qwen3_omni_moe", "thinker_config": OMNI}, 1151225712, 876),
]


def catalogue(name):
    return json.loads((data_dir() / "models" / f"{name}.json").read_text(encoding="utf-8"))


def counted(config):
    tensors, _ = towers.tensors(config)
    return sum(t.num_params for t in tensors), sum(t.count for t in tensors)


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue_towers_have_every_parameter_of_the_meta_device(name):
    assert counted(catalogue(name)) == CATALOGUE[name]


@pytest.mark.parametrize(("config", "params", "tensors"), OTHERS, ids=lambda v: str(v)[:40])
def test_other_families_have_every_parameter_of_the_meta_device(config, params, tensors):
    assert counted({"text_config": TEXT} | config) == (params, tensors)


@pytest.mark.parametrize(
    ("name", "vision_billions", "audio_billions"),
    [
        ("google--gemma-3n-E4B-it", 0.298587, 0.684694),
        ("google--gemma-4-E4B-it", 0.169331, 0.308757),
        ("google--gemma-3-27b-it", 0.42306, 0),
        ("meta-llama--Llama-3.2-90B-Vision-Instruct", 0.92649, 0),
    ],
)
def test_vision_and_audio_are_told_apart(name, vision_billions, audio_billions):
    tensors, _ = towers.tensors(catalogue(name))
    audio = sum(t.num_params for t in tensors if t.role == "audio" or "embed_audio" in t.name)
    assert round((sum(t.num_params for t in tensors) - audio) / 1e9, 6) == vision_billions
    assert round(audio / 1e9, 6) == audio_billions
    assert {t.role for t in tensors} <= {"vision", "audio", "projector"}


def test_text_models_have_no_towers():
    assert towers.tensors({"model_type": "llama", "hidden_size": 4096}) == ((), ())


@pytest.mark.parametrize("kind", sorted(towers.FAMILIES))
def test_a_missing_section_is_named(kind):
    tensors, notes = towers.tensors({"model_type": kind, "text_config": TEXT})
    assert tensors == ()
    assert [note.split()[0] for note in notes] == list(towers.FAMILIES[kind])
    assert all("is missing" in note and "not counted" in note for note in notes)


def test_a_null_audio_section_says_that_there_is_none():
    config = catalogue("google--gemma-4-31B-it")
    assert config["audio_config"] is None
    assert towers.tensors(config)[1] == ()


def test_defaults_that_were_taken_are_named_with_their_values():
    _, (note,) = towers.tensors(catalogue("google--gemma-4-E4B-it"))
    assert note.startswith("audio_config leaves out hidden_size (1024), num_attention_heads (8)")


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        (
            "mistralai--Pixtral-12B-2409",
            ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        ),
        ("google--paligemma-3b-pt-224", ("image_size",)),
        ("HuggingFaceTB--SmolVLM-256M-Instruct", ("intermediate_size", "num_hidden_layers")),
        ("HuggingFaceTB--SmolVLM-Instruct", ("hidden_size",)),
    ],
)
def test_sizes_that_files_leave_out_at_their_class_default_are_taken_and_named(name, left_out):
    config = catalogue(name)
    thin = {k: v for k, v in config["vision_config"].items() if k not in left_out}
    whole, _ = towers.tensors(config)
    found, notes = towers.tensors(config | {"vision_config": thin})
    assert found == whole
    for field in set(left_out) - {"num_attention_heads"}:
        assert f"{field} ({config['vision_config'].get(field)}" in "".join(notes)


def test_a_tower_of_an_unknown_family_is_named():
    tensors, notes = towers.tensors({"model_type": "newvl", "vision_config": {"hidden_size": 8}})
    assert tensors == ()
    assert notes == (
        "vision_config is there, but the vision tower of model_type 'newvl' is not known: it is not counted",
    )


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        (CLIP | {"hidden_size": "1024"}, "hidden_size is '1024'; a whole number"),
        ({"model_type": "clip_vision_model"}, "hidden_size .*is missing"),
        (CLIP | {"model_type": "other_vit"}, "model_type 'other_vit' is not known; known: siglip"),
    ],
)
def test_damaged_sections_are_refused(vision, message):
    with pytest.raises(ValueError, match=message):
        towers.tensors({"model_type": "llava", "text_config": TEXT, "vision_config": vision})


def test_splits_follow_vllm():
    """Gemma 4's towers are transformers' own modules and stay whole; SigLIP's are cut as text layers are."""
    whole, _ = towers.tensors(catalogue("google--gemma-4-E4B-it"))
    assert {t.split for t in whole} == {"none"}
    cut = {t.name.rsplit("*.")[-1]: t.split for t in towers.tensors(catalogue("google--gemma-3-4b-it"))[0]}
    assert cut["self_attn.q_proj.weight"] == cut["mlp.fc1.bias"] == "out"
    assert cut["self_attn.out_proj.weight"] == "in"
    assert cut["self_attn.out_proj.bias"] == cut["layer_norm1.weight"] == "none"
