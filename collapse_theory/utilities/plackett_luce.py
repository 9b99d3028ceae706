"""What one whole ranking is worth: the Plackett-Luce log-likelihood, no function of single gaps."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from collapse_theory.display import latex_number
from collapse_theory.errors import InvalidUtility, ParseError
from collapse_theory.numerics.checks import positive
from collapse_theory.utilities.checks import number_text
from collapse_theory.values import Value

_TEXT = re.compile(
    r"\s*plackett[ _-]?luce(?![A-Za-z0-9])\s*(?:\((?P<fields>[^()]*)\))?\s*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_FIELD = re.compile(r"\s*(?P<name>top|beta)\s*=\s*(?P<value>[^\s=]+)\s*")
_KNOWN = "PlackettLuce(), PlackettLuce(top=1), PlackettLuce(beta=2), PlackettLuce(top=1, beta=2)"


@dataclass(frozen=True, eq=False, repr=False)
class PlackettLuce(Value):
    """The Plackett-Luce (listwise softmax) log-likelihood of a ranking.

    Completions are picked one after the other, the best first, each with a probability
    proportional to exp(beta r). With r_1 the reward of the best, the value is the mean over the
    first `top` picks of

        log [exp(beta r_i) / sum_{j >= i} exp(beta r_j)].

    It depends on all rewards at once, so it is no `Utility`; `solve`, `limit` and `closed_form`
    take it in a utility's place.

    Parameters
    ----------
    top : int, optional
        How many picks count; all n - 1 unless given. 1 is best of K: the best against the rest.
    beta : float
        The inverse temperature, positive.

    Raises
    ------
    InvalidUtility
        For a `top` that is no whole number from 1 on, or a `beta` that isn't positive.

    References
    ----------
    R. L. Plackett, The analysis of permutations, Applied Statistics 24 (1975); F. Xia et al.,
    Listwise approach to learning to rank, ICML 2008 (ListMLE).

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve(ct.PlackettLuce(), 8).rewards.round(3)
    array([1.   , 1.   , 1.   , 0.992, 0.55 , 0.107, 0.   , 0.   ])
    """

    top: int | None = None
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top is not None:
            try:
                top = operator.index(self.top)
            except TypeError:
                top = 0
            if isinstance(self.top, bool) or top < 1:
                raise InvalidUtility(
                    f"top of PlackettLuce is a number of picks, 1, 2, ..., got {self.top!r}; "
                    "None counts them all"
                )
            self._set(top=top)
        self._set(beta=positive(self.beta, "beta of PlackettLuce", InvalidUtility))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return what ``PlackettLuce(top=..., beta=...)`` says; None for a text of another name.

        Nothing is evaluated. Upper and lower case, and "Plackett-Luce", are the same.

        Raises
        ------
        ParseError
            Where something else stands after the name.
        """
        named = _TEXT.fullmatch(text)
        if named is None:
            return None
        if named["rest"]:
            raise ParseError(f"found {named['rest'][:40]!r} after PlackettLuce; write {_KNOWN}")
        fields, given = (named["fields"] or "").strip(), dict[str, Any]()
        for piece in fields.split(",") if fields else ():
            found = _FIELD.fullmatch(piece)
            if found is None or found["name"] in given:
                raise ParseError(f"found {piece.strip()!r} in PlackettLuce(...); write {_KNOWN}")
            given[found["name"]] = _number(found["name"], found["value"])
        return cls(**given)

    def stages(self, n: int) -> int:
        """Return how many picks of n completions count: the last one left is no choice."""
        return n - 1 if self.top is None else min(self.top, n - 1)

    def value(self, rewards: Any, xp: Any = np) -> Any:
        """Return the mean log-likelihood of a pick.

        Parameters
        ----------
        rewards : (..., n) array
            Best first along the last axis.
        xp : module, optional
            The array namespace of `rewards`: NumPy or torch.

        Returns
        -------
        (...) array

        Examples
        --------
        >>> import numpy as np
        >>> from collapse_theory.utilities import PlackettLuce
        >>> value = PlackettLuce().value(np.array([1.0, 0.0]))  # log sigmoid(1)
        >>> round(float(value), 6)
        -0.313262
        """
        scores = self.beta * rewards
        turned = xp.flip(scores, (-1,))
        # NumPy's name for it and torch's.
        running = np.logaddexp.accumulate if xp is np else xp.logcumsumexp
        sums = running(turned, -1)
        stages = self.stages(scores.shape[-1])
        return (scores - xp.flip(sums, (-1,)))[..., :stages].mean(-1)

    def scaled(self, b: float) -> PlackettLuce:
        """Return the log-likelihood of the rewards b r, b > 0."""
        return PlackettLuce(
            self.top, self.beta * positive(b, "the factor of .scaled", InvalidUtility)
        )

    def __str__(self) -> str:
        fields = [f"top={self.top}"] if self.top is not None else []
        fields += [f"beta={number_text(self.beta)}"] if self.beta != 1 else []
        return f"PlackettLuce({', '.join(fields)})"

    def __repr__(self) -> str:
        return str(self)

    def _latex(self) -> str:
        b = "" if self.beta == 1 else rf"{latex_number(self.beta)}\,"
        picks = "n - 1" if self.top is None else str(self.top)
        reward, others = f"{b}r_i", rf"\sum_{{j \geq i}} e^{{{b}r_j}}"
        return rf"\frac{{1}}{{{picks}}}\sum_{{i=1}}^{{{picks}}}\left({reward} - \log{others}\right)"


def _number(name: str, text: str) -> Any:
    try:
        return None if (name, text) == ("top", "None") else (int if name == "top" else float)(text)
    except ValueError:
        kind = "a whole number" if name == "top" else "a number"
        raise ParseError(
            f"{name} of PlackettLuce is {kind}, got {text!r}; write {_KNOWN}"
        ) from None
