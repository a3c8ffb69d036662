"""Models and what is known of them. Importing this package imports no torch.

    import zoo

    zoo.list_models("alexnet*")                         # our models' specs
    zoo.resolve("timm:resnet18", num_classes=10)        # any model's spec
    zoo.create_model("resnet18_cifar", num_classes=10)  # a torch.nn.Module with fresh weights

A name is one of ours, `tv:NAME`, `timm:NAME` or `FILE.py:FUNCTION`, with or without switches behind
an `@` (zoo/registry.py). Whatever is wrong with a request is a ValueError of one line.
"""

from zoo.registry import check_name, create_model, expand, list_models, resolve
from zoo.spec import LayerCost, ModelSpec

__all__ = [
    "LayerCost",
    "ModelSpec",
    "check_name",
    "create_model",
    "expand",
    "list_models",
    "resolve",
]
