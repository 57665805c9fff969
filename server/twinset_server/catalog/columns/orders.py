"""How numbers compare to a number: exactly, whatever float64 rounds away of large whole ones."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from twinset_server.domain import Operator

INT64 = np.iinfo(np.int64)


def nearest_real(number: float) -> float:
    """Return the float64 nearest to an int or a float; infinite where that is beyond all."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def compare_whole(values: NDArray[np.int64], operator: Operator, operand: float) -> NDArray[np.bool_]:
    """Return `[N]` whether each of `values` compares to `operand`, which is an int or a float, as an order says."""
    if not INT64.min <= operand <= INT64.max:
        all_below = operator in (Operator.LESS, Operator.AT_MOST)
        return np.full(len(values), all_below == (operand > 0), np.bool_)
    # v < 2.5 and v <= 2.5 are v <= 2; the others begin at 3.
    if operator in (Operator.LESS, Operator.AT_MOST):
        bound = math.floor(operand)
        return _compared(values, operator if bound == operand else Operator.AT_MOST, bound)
    bound = math.ceil(operand)
    return _compared(values, operator if bound == operand else Operator.AT_LEAST, bound)


def compare_real(values: NDArray[np.float64], operator: Operator, operand: float) -> NDArray[np.bool_]:
    """Return `[N]` whether each of `values` compares to `operand`, which is an int or a float, as an order says."""
    rounded = nearest_real(operand)
    # Between the operand and its float64 there is no other float64.
    if rounded > operand:
        operator = Operator.LESS if operator in (Operator.LESS, Operator.AT_MOST) else Operator.AT_LEAST
    elif rounded < operand:
        operator = Operator.AT_MOST if operator in (Operator.LESS, Operator.AT_MOST) else Operator.GREATER
    return _compared(values, operator, rounded)


def _compared(values: NDArray[np.int64] | NDArray[np.float64], operator: Operator, bound: float) -> NDArray[np.bool_]:
    match operator:
        case Operator.LESS:
            found = values < bound
        case Operator.AT_MOST:
            found = values <= bound
        case Operator.GREATER:
            found = values > bound
        case _:
            found = values >= bound
    return found
