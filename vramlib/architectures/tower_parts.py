"""What towers have in common: their section of config.json, and the tensors of repeated layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vramlib.architectures.attention import linear
from vramlib.architectures.fields import Fields, whole
from vramlib.specs import Tensor

Tensors = tuple[Tensor, ...]
FC = ("mlp.fc1", "mlp.fc2")
GLU = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
LINEARS = ("linear_1", "linear_2")
# What files of these encoders leave out because it equals the class default, by the section's model_type.
# Source: transformers 5.23, models/{pixtral,siglip,idefics3,smolvlm}/configuration_*.py
_IDEFICS = {"hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224}
LEFT_OUT: Mapping[str, Mapping[str, int]] = {
    "pixtral": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 1024},
    "siglip_vision_model": {"image_size": 224},
    **dict.fromkeys(
        ("idefics3", "idefics3_vision", "smolvlm", "smolvlm_vision"), _IDEFICS | {"patch_size": 32}
    ),
}


class Section:
    """One section of config.json that describes a tower, ``vision_config`` or ``audio_config``.

    Parameters
    ----------
    config : the whole file [-]
    key : the section's name [-]
    """

    def __init__(self, config: Mapping[str, Any], key: str) -> None:
        self.outer = config
        self.key = key
        self.fields = Fields(config[key], name=key)
        self.assumed: dict[str, object] = {}

    def size(self, *names: str, default: int | None = None, quiet: bool = False) -> int:
        """A whole number under the first spelling present.

        Parameters
        ----------
        names : spellings, the usual one first [-]
        default : taken when all are missing, with a warning, unless the encoder has its own; None makes that an
            error [-]
        quiet : no warning, for fields that every file of the family leaves out [-]

        Returns
        -------
        The number [-]

        Raises
        ------
        ValueError: missing with no default, or not a positive whole number.
        """
        name = next((n for n in names if self.fields.get(n) is not None), "")
        default = LEFT_OUT.get(self.fields.model_type, {}).get(names[0], default)
        if name or default is None:
            return self.fields.size(name or names[0])
        if not quiet:
            self.assumed[names[0]] = default
        return default

    def outside(self, name: str, default: int) -> int:
        """A whole number of the whole file that concerns this tower, there only when unusual."""
        value = self.outer.get(name)
        return default if value is None else whole(value, field=name)

    def fraction(self, name: str, default: float) -> float:
        """A ratio above 0 and up to 1 of the whole file."""
        value = self.outer.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise ValueError(f"{name} is {value!r}; a ratio above 0 and up to 1 is needed")
        return value

    def length(self, name: str, default: int) -> int:
        """Entries of a list of this section."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, list):
            raise ValueError(f"{self.key}: {name} is {value!r}; a list is needed")
        return len(value) if value else default

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes-or-no field of this section."""
        return self.fields.flag(name, default)

    def numbers(self, name: str, default: list[int]) -> list[int]:
        """A list of whole numbers, an empty one included."""
        value = self.fields.get(name)
        if value is None:
            self.assumed[name] = default
            return default
        if not isinstance(value, list):
            raise ValueError(f"{self.key}: {name} is {value!r}; a list is needed")
        return [whole(v, field=name, name=self.key, least=0) for v in value]

    @property
    def channels(self) -> int:
        """Channels of an image, three where the file does not say."""
        return self.size("num_channels", default=3, quiet=True)

    @property
    def text_width(self) -> int:
        """hidden_size of the text model that the projector feeds [element]."""
        return Fields(self.outer).size("hidden_size")

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line that names every field that was missing and what was taken instead."""
        if not self.assumed:
            return ()
        taken = ", ".join(f"{name} ({value})" for name, value in self.assumed.items())
        return (f"{self.key} leaves out {taken}: transformers' own defaults are used",)


@dataclass(frozen=True, slots=True)
class Group:
    """A part of a tower: what its tensors' names begin with, their role, and how many equal ones there are.

    Parameters
    ----------
    prefix : start of every name; ``*`` stands for a layer's number [-]
    role : ``vision``, ``audio`` or ``projector`` [-]
    count : equal layers [-]
    """

    prefix: str
    role: str = "vision"
    count: int = 1

    def plain(self, name: str, *shape: int, split: str = "none") -> Tensors:
        """A tensor that weight quantization leaves alone: a convolution, a table, a single number."""
        return (Tensor(name=self.prefix + name, shape=shape, role=self.role, split=split, count=self.count),)

    def norm(self, width: int, *names: str, bias: bool = True) -> Tensors:
        """The weight of each norm, and its bias where it is a LayerNorm."""
        tails = (".weight", ".bias") if bias else (".weight",)
        return tuple(t for name in names for tail in tails for t in self.plain(name + tail, width))

    def matrix(
        self, name: str, outputs: int, inputs: int, *, bias: bool = True, split: str = "none", fuse: str = ""
    ) -> Tensors:
        """A matrix and its bias; ``fuse`` is made unique to this part of the tower."""
        word = fuse and self.prefix + fuse
        return linear(
            self.prefix + name, (outputs, inputs), bias=bias, role=self.role, split=split, fuse=word,
            count=self.count,
        )  # fmt: skip

    def conv(self, name: str, *shape: int, bias: bool = True, norm: str = "") -> Tensors:
        """A convolution's kernel, [out, in, …], its bias, and the norm that follows where it is named."""
        tail = self.plain(f"{name}.bias", shape[0]) if bias else ()
        after = self.norm(shape[0], norm, bias=False) if norm else ()
        return self.plain(f"{name}.weight", *shape) + tail + after

    def attention(
        self, width: int, *, prefix: str = "self_attn.", output: str = "o_proj", bias: bool = False,
        output_bias: bool | None = None, key_bias: bool | None = None,
    ) -> Tensors:  # fmt: skip
        """Four square matrices of one attention layer, queries, keys and values fused by engines.

        Parameters
        ----------
        width : hidden_size of the tower [element]
        prefix, output : module names of the layer and of its output matrix [-]
        bias : biases of queries, keys and values [-]
        output_bias, key_bias : where they differ from ``bias`` [-]

        Returns
        -------
        The tensors [-]
        """
        biases = {"q_proj": bias, "k_proj": bias if key_bias is None else key_bias, "v_proj": bias}
        out: Tensors = ()
        for name, has_bias in biases.items():
            out += self.matrix(prefix + name, width, width, bias=has_bias, split="out", fuse="qkv_proj")
        last = bias if output_bias is None else output_bias
        return out + self.matrix(prefix + output, width, width, bias=last, split="in")

    def fused_attention(
        self, width: int, qkv: str = "attn.qkv", output: str = "attn.proj", *, bias: bool = True,
        output_bias: bool = True,
    ) -> Tensors:  # fmt: skip
        """Attention whose file has queries, keys and values as one matrix, which engines cut by heads."""
        out = self.matrix(qkv, 3 * width, width, bias=bias, split="out")
        return out + self.matrix(output, width, width, bias=output_bias, split="in")

    def multihead_attention(self, prefix: str, width: int) -> Tensors:
        """PyTorch's own attention module, which engines leave whole."""
        out = self.plain(prefix + "in_proj_weight", 3 * width, width)
        out += self.plain(prefix + "in_proj_bias", 3 * width)
        return out + self.matrix(prefix + "out_proj", width, width)

    def mlp(
        self, width: int, inner: int, outputs: int | None = None, *, names: tuple[str, ...] = FC,
        bias: bool = True, split: bool = True,
    ) -> Tensors:  # fmt: skip
        """Up and down matrices, or gate, up and down where three names are given.

        Parameters
        ----------
        width, inner : inputs, and width between the matrices [element]
        outputs : where they differ from the inputs, as in a projector [element]
        names : of the matrices [-]
        bias : biases of all of them [-]
        split : whether engines cut them [-]

        Returns
        -------
        The tensors [-]
        """
        first, second = ("out", "in") if split else ("none", "none")
        fuse = "gate_up_proj" if split and len(names) == 3 else ""
        out: Tensors = ()
        for name in names[:-1]:
            out += self.matrix(name, inner, width, bias=bias, split=first, fuse=fuse)
        return out + self.matrix(names[-1], outputs or width, inner, bias=bias, split=second)


PROJECTOR = Group("multi_modal_projector.", "projector")
Build = Callable[[Section], Tensors]
