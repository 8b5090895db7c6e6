"""YAML as people expect it: safe, `1e-3` is a number, and a key may not appear twice."""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader follows YAML 1.1, where `1e-3` is a string and a second key wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        pairs = [pair for pair in node.value if pair[0].tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key, _ in pairs]
        for index, (key, (key_node, _)) in enumerate(zip(keys, pairs, strict=True)):
            if keys[:index].count(key):
                raise yaml.constructor.ConstructorError(
                    "while reading a mapping", node.start_mark,
                    f"the key {key!r} appears twice", key_node.start_mark,
                )  # fmt: skip
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$|^[-+]?\.?(inf|Inf|INF)$|^\.(nan|NaN)$"),
    list("-+0123456789.iI"),
)


def parse_yaml(text: str) -> Any:
    """The content of a YAML document.

    Raises:
        yaml.YAMLError: it is not YAML, or a mapping has a key twice.
    """
    return yaml.load(text, Loader=_Loader)
