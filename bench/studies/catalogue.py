"""Every study by its name: what it asks, and the function that answers. No torch until one runs."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.suggest import unknown

if TYPE_CHECKING:
    from bench.results.finding import Answer
    from bench.studies.lab import Lab


@dataclass(frozen=True)
class Study:
    """A study: the function `name` in the module of that name, and what is known before it runs.

    `minutes` are about those of the quick form on 2 cores (LAB.md).
    """

    name: str
    question: str
    minutes: float

    def load(self) -> Callable[["Lab"], "Answer"]:
        """Return the function that trains the variants and answers."""
        module = importlib.import_module(f"bench.studies.{self.name}")
        function: Callable[[Lab], Answer] = getattr(module, self.name)
        return function


CATALOGUE = (
    Study("relu_tanh", "How much sooner does a network of ReLUs learn than one of tanh?", 6),
    Study("alexnet_parts", "What is each part of AlexNet worth?", 10),
    Study("optimisers", "Which optimiser learns best, each at its best rate?", 2),
    Study("overfitting", "How does the gap between training and validation depend on the data?", 3),
    Study("imbalance", "What do --balance and --class-weights bring to a long tail?", 2),
    Study("transfer", "What do weights trained on other images bring, frozen or whole?", 9),
    Study("classical", "How do networks compare with the pipelines that they replaced?", 12),
    Study("flowers", "How good is half an AlexNet on five kinds of flowers, by optimiser?", 8),
    Study("explain", "Where does a network look when it is right, and when it is wrong?", 1),
    Study("same_model_twice", "How often is a winner claimed where there is none?", 2),
)
STUDIES = {study.name: study for study in CATALOGUE}


def choose_studies(names: tuple[str, ...]) -> list[Study]:
    """Return the studies of these names, or all for `all`; ValueError with the nearest names."""
    for name in names:
        if name not in STUDIES and name != "all":
            raise ValueError(unknown("study", name, [*STUDIES, "all"]))
    if "all" in names:
        return list(CATALOGUE)
    return [STUDIES[name] for name in dict.fromkeys(names)]
