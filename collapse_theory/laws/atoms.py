"""The discrete part of a law: point masses in the order of their locations."""

from __future__ import annotations

from typing import Any

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.numerics.checks import finite_array

__all__ = ["atom_array", "running_sum"]


def atom_array(atoms: Any) -> np.ndarray:
    """Return `atoms` as a (k, 2) array: sorted, equal locations merged, zero masses dropped."""
    if np.ndim(atoms) > 0 and len(atoms) == 0:
        return np.empty((0, 2))
    array = finite_array(atoms, "atoms", 2)
    if array.shape[1] != 2:
        raise CollapseError(f"atoms must be pairs of location and mass, not {array.shape}")
    if (array[:, 1] < 0).any():
        where, mass = array[np.argmin(array[:, 1])]
        raise CollapseError(f"masses must not be negative; the atom at {where} has {mass}")
    array = array[array[:, 1] > 0]
    # + 0.0 makes one location of 0.0 and -0.0.
    places, index = np.unique(array[:, 0] + 0.0, return_inverse=True)
    if places.size == array.shape[0]:
        masses = array[np.argsort(array[:, 0], kind="stable"), 1]
    else:
        masses = np.bincount(index, weights=array[:, 1], minlength=places.size)
    return np.column_stack([places, masses])


def running_sum(masses: np.ndarray) -> np.ndarray:
    """Return 0 and the sums of the first 1, 2, ... masses, each rounded about once.

    The plain sum of a million equal masses drifts by 1e-12, which moves a quantile to the next
    atom; the second sum here is of the first one's own rounding errors, found exactly.
    """
    plain = np.concatenate([[0.0], np.cumsum(masses)])
    before, after = plain[:-1], plain[1:]
    part = after - before
    errors = (before - (after - part)) + (masses - part)
    return plain + np.concatenate([[0.0], np.cumsum(errors)])
