"""All tensors of one place, a layer or an end: those read from files, and those whose file is not there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from vramlib.readers.places import Place, tower_role
from vramlib.readers.safetensors import Stored
from vramlib.readers.templates import Templates, of_scale, of_weight
from vramlib.specs import Tensor

Group = Counter[tuple[Place, Stored]]
"""Equal tensors of one place (the experts of a layer, the layers of a tower) and how many there are."""


@dataclass(slots=True, kw_only=True)
class Maker:
    """Turns headers into tensors, and notes the names that the inventory does not have.

    Parameters
    ----------
    dtype : the model's own type [-]
    complete : whether every file was read; if not, the inventory fills what is missing [-]
    unmatched : names that the inventory lacks, in order of appearance [-]
    """

    dtype: str
    complete: bool
    unmatched: list[str] = field(default_factory=list)

    def tensors(self, group: Group, inventory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The tensors of one place, in the inventory's order.

        Parameters
        ----------
        group : what the files store there [-]
        inventory : what config.json implies there [-]

        Returns
        -------
        Exact bytes where they were read; what the inventory lacks is kept whole on every rank [-]
        """
        templates, made, read = Templates(inventory), list[Tensor](), Counter[int]()
        for (at, stored), count in sorted(group.items(), key=lambda item: item[0][0].name):
            known, is_weight = templates.find(at.module), at.part in ("", "codes")
            if not known and is_weight:
                self.unmatched.append(at.name)
            if stored.nbytes < 0:
                continue
            parts = tuple(inventory[i] for i in known) or (_unknown(at, stored, count),)
            made += (of_weight if is_weight else of_scale)(at, stored, count, parts, self.dtype)
            read.update(dict.fromkeys(known, count) if is_weight else {})
        if not self.complete:
            made += _unread(inventory, read)
        return tuple(sorted(made, key=lambda t: templates.order(t.name)))


def _unknown(at: Place, stored: Stored, count: int) -> Tensor:
    return Tensor(name=at.name, shape=stored.shape, role=tower_role(at.name) or "other", count=count)


def _unread(inventory: tuple[Tensor, ...], read: Counter[int]) -> list[Tensor]:
    """The inventory's tensors that no file found gave, down to the experts of a layer that are elsewhere."""
    missing = [
        (t, t.count - read[i] if "*" in t.name else t.count * (not read[i])) for i, t in enumerate(inventory)
    ]
    return [replace(t, count=count) for t, count in missing if count > 0]
