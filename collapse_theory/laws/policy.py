"""Laws of the reward under a policy that a reward model has improved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from collapse_theory.errors import CollapseError
from collapse_theory.laws.law import RewardLaw
from collapse_theory.laws.part import Part

__all__ = ["PolicyLaw"]


@dataclass(frozen=True, eq=False, repr=False)
class PolicyLaw(RewardLaw, ABC):
    """The law of the reward when completions are drawn from an improved policy.

    The base policy's rewards follow the law `base` = P. The improved policy makes a completion of
    reward x more or less probable by the factor w(x) = dQ/dP(x), so that its rewards follow Q.
    Completions of equal reward are treated alike; then divergences between the two policies are
    those between the two laws. `RewardLaw.best_of` and `RewardLaw.tilted` make such laws.

    Attributes
    ----------
    base : RewardLaw
        The law of the reward under the base policy.
    kl : float
        KL(Q || P) = E_Q log w, in nats.
    effective_sample_size : float
        1 / E_P w^2 in (0, 1]: n completions drawn from the base policy and weighted by w are worth
        as many as this share of n drawn from the improved one (Kish's formula).
    """

    atoms: Any = field(init=False, default=())
    parts: tuple[Part, ...] = field(init=False, default=())
    objective: float | None = field(init=False, default=None)
    gap: float | None = field(init=False, default=None)
    relative_gap: float | None = field(init=False, default=None)
    method: str | None = field(init=False, default=None)
    status: str | None = field(init=False, default=None)
    reference: str | None = field(init=False, default=None)
    base: RewardLaw

    def _set_law(self, atoms: Any, parts: tuple[Part, ...]) -> None:
        """Set what follows from the base law, and check it as any law is checked."""
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "parts", parts)
        super().__post_init__()

    @staticmethod
    def _checked(base: Any) -> RewardLaw:
        if not isinstance(base, RewardLaw):
            raise CollapseError(
                f"base must be a RewardLaw, not {base!r}; empirical_law(rewards) makes one of a "
                "sample"
            )
        return base

    @cached_property
    def kl(self) -> float:
        """KL divergence of the policy from its base, in nats."""
        return self._divergence()

    @cached_property
    def effective_sample_size(self) -> float:
        """1 / E_P w^2, a share in (0, 1]."""
        return self._share()

    @abstractmethod
    def _divergence(self) -> float: ...

    @abstractmethod
    def _share(self) -> float: ...

    @abstractmethod
    def ratio(self, x: Any) -> Any:
        """Return w(x), by which completions of reward `x` become more probable.

        Parameters
        ----------
        x : float or array
            Rewards in the support of the base law.
        """

    @abstractmethod
    def _name(self) -> str:
        """Return what was done to the base law, for `repr`."""

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}; {self._name()})"
