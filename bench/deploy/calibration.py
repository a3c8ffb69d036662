"""Temperature scaling: one number by which a model's scores are divided. numpy and scipy."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCORES_FILE = "scores.npz"
RANGE = (0.05, 20.0)  # in which temperatures lie


def fit_temperature(folder: Path) -> float:
    """Return the temperature of a cell's model, from what it said of the validation images.

    ValueError where the cell has kept nothing of that.
    """
    path = folder / SCORES_FILE
    try:
        with np.load(path, allow_pickle=False) as kept:
            log_probabilities = kept["validation_log_probabilities"]
            label = kept["validation_label"]
    except FileNotFoundError as error:
        raise ValueError(
            f"--calibrate: {path} isn't there, which says what the model said of validation "
            "(a published run leaves it out)"
        ) from error
    except KeyError as error:
        raise ValueError(
            f"--calibrate: {path} has nothing of validation: the run's protocol had none"
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(f"--calibrate: {path} can't be read ({error})") from error
    return find_temperature(log_probabilities, label)


def find_temperature(
    log_probabilities: NDArray[np.floating[Any]], label: NDArray[np.signedinteger[Any]]
) -> float:
    """Return the temperature at which the mean log loss of (N, classes) is least.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 4.2.
    Scores differ from log-probabilities by a constant a row, which changes nothing.
    """
    # Imported here: asking a model without it needs no scipy.
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    scores = log_probabilities.astype(np.float64)
    own = scores[np.arange(len(label)), label]

    def loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        return float((logsumexp(scores / temperature, axis=1) - own / temperature).mean())

    low, high = RANGE
    # In the logarithm of the temperature the loss has one minimum, as in its inverse.
    found = minimize_scalar(loss, bounds=(math.log(low), math.log(high)), method="bounded")
    return math.exp(found.x)
