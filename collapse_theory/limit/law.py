"""The limit law of a program: a reward law that remembers what it is the limit of."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from collapse_theory.errors import CollapseError
from collapse_theory.laws import RewardLaw
from collapse_theory.programs import Box, Domain
from collapse_theory.utilities import Loss

__all__ = ["LimitLaw"]


UNIT = Box()


@dataclass(frozen=True, eq=False, repr=False)
class LimitLaw(RewardLaw):
    """A `RewardLaw` with the utility and the domain whose optima tend to it.

    Attributes
    ----------
    utility : Utility or PlackettLuce
    domain : Box, Confined, Centered or Free
    """

    utility: Loss | None = None
    domain: Domain = UNIT

    @classmethod
    def of(cls, law: RewardLaw, utility: Loss, domain: Domain) -> LimitLaw:
        """Return `law` as the limit law of a program."""
        kept = {f.name: getattr(law, f.name) for f in dataclasses.fields(RewardLaw) if f.init}
        return cls(**kept, utility=utility, domain=domain)

    def rewards(self, n: int) -> np.ndarray:
        """Return the rewards predicted for n completions, corrected for finite n, best first.

        See `collapse_theory.limit.predicted_rewards` for the formula and its measured accuracy:
        1e-3 from n = 32 on for ordinary utilities.

        Raises
        ------
        CollapseError
            A ValueError, for utilities with kinks, for -1/x and what falls faster, and outside a
            box, where the limit law doesn't say; `ct.solve` computes them.

        Examples
        --------
        >>> import collapse_theory as ct
        >>> predicted = ct.limit("log(x + 0.1)").rewards(32)
        >>> bool(abs(predicted - ct.solve("log(x + 0.1)", 32).rewards).max() < 1e-3)
        True
        """
        from collapse_theory.limit.convergence import predicted_rewards

        if self.utility is None:
            raise CollapseError(
                "this law doesn't know its utility; ct.limit(u) gives one that does"
            )
        if not isinstance(self.domain, Box):
            raise CollapseError(
                f"the rewards of n completions are predicted in a Box only, not under "
                f"{self.domain}; ct.solve(u, n, domain) computes them"
            )
        return predicted_rewards(self.utility, n, self.domain)

    def mapped(self, low: float, scale: float) -> RewardLaw:
        """Return the law of low + scale X, for scale > 0, as a plain law."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(RewardLaw) if f.init}
        return RewardLaw(**plain).mapped(low, scale)
