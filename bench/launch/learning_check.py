"""Check what ways of learning need, and refuse what they have no use for. No torch."""

from collections.abc import Iterator, Sequence

from bench.request.config import NONE, RunConfig
from bench.request.option import flag_of
from bench.request.recipe import get_recipe
from zoo.registry import list_fitted_once

# Options that what is fitted once would ignore.
ONLY_OF_STEPS = (
    *("accumulate", "best_batch", "optimizer", "lr", "momentum", "weight_decay", "schedule"),
    *("patience", "warmup", "label_smoothing", "dropout", "drop_path", "clip", "ema", "augment"),
    *("balance", "class_weights", "compile", "exact", "sync_batchnorm", "assess_train"),
)
# Options that a model has no use for if it is fitted once, also beside models that take steps.
NOT_OF_FITTED = ("precision", "compile", "best_batch", "train", "parallel")


def check_train(config: RunConfig) -> None:
    """Check what a classifier on frozen features needs, and refuse what it has no use for."""
    if not config.fits_head:
        return
    given = f"--train {config.train}"
    if config.pretrained == NONE:
        raise ValueError(
            f"{given}: features of layers that were never trained say little; "
            "give --pretrained, or take --train all"
        )
    if config.protocol == "published":
        raise ValueError(
            f"{given}: its strength is chosen on validation images, and --protocol published has "
            "none; take --protocol split"
        )
    if config.parallel != "data":
        raise ValueError(
            f"{given} --parallel {config.parallel}: features are of whole models; leave one out"
        )
    if config.takes_steps:
        return
    for flag in _list_given(config, ONLY_OF_STEPS):
        raise ValueError(
            f"{flag}: is of learning by steps, and {given} takes none; leave it out, "
            "or take --train all or head+all"
        )


def check_fitted_once(config: RunConfig) -> None:
    """Refuse what a model that is fitted once has no use for; ValueError names model and option."""
    models = list_fitted_once(config.models)
    if not models:
        return
    refused: tuple[str, ...] = NOT_OF_FITTED
    if len(models) == len(config.models):
        refused = (*refused, *(name for name in ONLY_OF_STEPS if name not in refused))
    for flag in _list_given(config, refused):
        raise ValueError(
            f"{flag}: is of learning by steps, and {models[0]} is fitted once; leave one out"
        )
    if config.pretrained != NONE and config.epochs != 0:
        raise ValueError(
            f"--pretrained: {models[0]} is fitted from nothing; leave it out, or give --epochs 0 "
            "to evaluate what another run has fitted"
        )
    if config.protocol == "published" and config.epochs != 0:
        raise ValueError(
            f"--protocol published: {models[0]} chooses its strength on validation images, and "
            "there are none; take --protocol split"
        )


def _list_given(config: RunConfig, names: Sequence[str]) -> Iterator[str]:
    """Yield those options that differ from the recipe's, as they are given: `--precision bf16`.

    A recipe's own settings are nobody's wish.
    """
    recipe = get_recipe(config.recipe)
    for name in names:
        value = getattr(config, name)
        if value == getattr(recipe, name):
            continue
        if name == "best_batch":
            yield "--batch-size best"
        elif value is True:
            yield flag_of(name)
        else:
            words = value if isinstance(value, tuple) else (value,)
            yield " ".join([flag_of(name), *map(str, words)])
