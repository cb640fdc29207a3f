"""A grid's YAML as plain data no larger than its text, or one line that says what is wrong and where."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml


def read(text: str) -> Any:
    r"""What a YAML text says, read as data only.

    Parameters
    ----------
    text : of the file [-]

    Returns
    -------
    Mappings, lists, text and numbers [-]

    Raises
    ------
    ValueError : it is no YAML, names a key twice, or repeats a list by an alias; the line is told

    Examples
    --------
    >>> read("gpu: [L4, A10G]")
    {'gpu': ['L4', 'A10G']}
    >>> read("gpu: L4\ngpu: A10G")
    Traceback (most recent call last):
    ValueError: line 2: 'gpu' is there twice; write each field once
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a safe loader, which makes no objects
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(filter(None, (error.context, error.problem)))
        raise ValueError(f"line {mark.line + 1}: {told}" if mark else told) from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("lists in lists in lists; write a value or a list of values") from None


class _Loader(yaml.SafeLoader):
    """No list is repeated by its name, as a few lines of that make a list of any size; no key is there twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """One node of the text."""
        alias = self.peek_event() if self.check_event(yaml.AliasEvent) else None
        node = super().compose_node(parent, index)
        if alias and isinstance(node, yaml.CollectionNode):
            told = "a list is repeated by an alias; write it out"
            raise yaml.MarkedYAMLError(problem=told, problem_mark=alias.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Its keys and values."""
        met = set[str]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in met:
                told = f"{key.value!r} is there twice; write each field once"
                raise yaml.MarkedYAMLError(problem=told, problem_mark=key.start_mark)
            met.add(key.value)
        return super().construct_mapping(node, deep)
