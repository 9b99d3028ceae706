"""Arrays of other libraries where numbers are asked for: the same answers as NumPy's."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import collapse_theory as ct

X = [0.25, 0.5, 1.0]  # exact in half precision, too


class OnDevice:
    """An array as CuPy's: on a device, and not given away unasked."""

    def __init__(self, values):
        self._values = np.asarray(values)

    @property
    def __cuda_array_interface__(self):
        return {"version": 3}

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed; use .get()")

    def __len__(self):
        return len(self._values)

    def get(self):
        return self._values


class ByDLPack:
    """An array that DLPack alone reads."""

    def __init__(self, values):
        self._values = np.asarray(values)

    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


def of_pandas(values):
    return pytest.importorskip("pandas").Series(values, index=range(7, 7 + len(values)))


def of_torch(values):
    return pytest.importorskip("torch").tensor(values)


def half_with_gradient(values):
    torch = pytest.importorskip("torch")
    return torch.tensor(values, dtype=torch.bfloat16, requires_grad=True)


LIBRARIES = [OnDevice, ByDLPack, pl.Series, of_pandas, of_torch, half_with_gradient, np.float32]
LAW = ct.limit("log(x + 0.1)")
TAKERS = {
    "cdf": LAW.cdf,
    "ppf": LAW.ppf,
    "distance": LAW.distance,
    "frozen": LAW.to_scipy().sf,
    "quantile": ct.solve("log(x)", 5).quantile,
    "design": lambda x: ct.design(x, n=3).distance,
    "anchored": lambda x: ct.solve("logsigmoid(x)", domain=ct.Anchored(x, 1.0)).rewards,
    "weights": lambda x: ct.solve("log(x)", comparisons=ct.Comparisons(3, [0, 0, 1], [1, 2, 2], x)),
    "rows": lambda x: ct.diagnose([x] * 12, utility=()).kinds,
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_arrays_of_any_library(take, library):
    found, wanted = take(library(X)), take(X)
    assert np.array_equal(found, wanted) if isinstance(wanted, np.ndarray) else found == wanted


@pytest.mark.parametrize("library", LIBRARIES)
def test_utilities_keep_gradients_or_refuse(library):
    u, x = ct.utility("log(x + 0.1)"), library(X)
    if library is not half_with_gradient:
        np.testing.assert_array_equal(u(x), u(X))
        return
    with pytest.raises(ct.CollapseError, match=r"u\.value\(x, torch\) keeps it"):
        u.d1(x)
    np.testing.assert_array_equal(u(x.detach()), u(X))
