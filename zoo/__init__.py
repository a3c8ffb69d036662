"""Models and what is known of them. Importing this package imports no torch."""

from zoo.registry import ModelSpec, check_name, create_model, expand, list_models, resolve

__all__ = ["ModelSpec", "check_name", "create_model", "expand", "list_models", "resolve"]
