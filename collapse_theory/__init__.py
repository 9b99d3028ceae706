"""The reward distributions that ranking losses collapse to: computed, certified, designed.

Reward models maximise over each prompt sum_{i<j} U(r_i - r_j) for a utility U of reward gaps.
Trained to the end they give every prompt the same distribution of rewards (Song, Cai, Lee, Su,
arXiv:2305.17608). This package computes it from U alone.

>>> import collapse_theory as ct
>>> ct.solve("log(x + 0.1)", 8).rewards.round(3)
array([1.   , 1.   , 0.854, 0.627, 0.373, 0.146, 0.   , 0.   ])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from collapse_theory.lazy import names_at_use

if TYPE_CHECKING:
    from collapse_theory import figures
    from collapse_theory.capacity import (
        Head,
        HeadPath,
        Memory,
        fit_head,
        head_path,
        memory,
        penalty_of,
    )
    from collapse_theory.data import LogSummary, RewardLog, read_log
    from collapse_theory.design import Design, Recommendation, design, recommend
    from collapse_theory.diagnosis import Diagnosis, diagnose
    from collapse_theory.errors import (
        CollapseError,
        InvalidUtility,
        NoClosedForm,
        NoConicForm,
        NoOptimum,
        NotConcave,
        NotIncreasing,
        NotInstalled,
        OutOfRange,
        ParseError,
        SolverFailed,
    )
    from collapse_theory.finite import Solutions, solve, solve_many
    from collapse_theory.finite.max_margin import max_margin
    from collapse_theory.laws import RewardLaw
    from collapse_theory.limit import (
        Laws,
        LimitLaw,
        atom_mass,
        atom_parameter,
        closed_form,
        limit,
        limit_many,
        predicted_rewards,
    )
    from collapse_theory.programs import (
        Anchored,
        Box,
        Centered,
        Comparisons,
        Confined,
        Domain,
        Free,
        Solution,
    )
    from collapse_theory.sweeps import sweep
    from collapse_theory.utilities import (
        Exponential,
        Hinge,
        LabelSmoothing,
        Linear,
        Log,
        LogSigmoid,
        NegativePower,
        PlackettLuce,
        Power,
        Quadratic,
        Sine,
        Squared,
        Utility,
        register,
        utility,
    )

__version__ = "0.1.0"

__all__ = [
    "Anchored",
    "Box",
    "Centered",
    "CollapseError",
    "Comparisons",
    "Confined",
    "Design",
    "Diagnosis",
    "Domain",
    "Exponential",
    "Free",
    "Head",
    "HeadPath",
    "Hinge",
    "InvalidUtility",
    "LabelSmoothing",
    "Laws",
    "LimitLaw",
    "Linear",
    "Log",
    "LogSigmoid",
    "LogSummary",
    "Memory",
    "NegativePower",
    "NoClosedForm",
    "NoConicForm",
    "NoOptimum",
    "NotConcave",
    "NotIncreasing",
    "NotInstalled",
    "OutOfRange",
    "ParseError",
    "PlackettLuce",
    "Power",
    "Quadratic",
    "Recommendation",
    "RewardLaw",
    "RewardLog",
    "Sine",
    "Solution",
    "Solutions",
    "SolverFailed",
    "Squared",
    "Utility",
    "__version__",
    "atom_mass",
    "atom_parameter",
    "closed_form",
    "design",
    "diagnose",
    "figures",
    "fit_head",
    "head_path",
    "limit",
    "limit_many",
    "max_margin",
    "memory",
    "penalty_of",
    "predicted_rewards",
    "read_log",
    "recommend",
    "register",
    "solve",
    "solve_many",
    "sweep",
    "utility",
]


# A room is imported when a name of it is first asked for: the import alone takes not even NumPy.
names_at_use(
    __name__,
    {
        f"{__name__}.errors": """
            CollapseError InvalidUtility NoClosedForm NoConicForm NoOptimum NotConcave
            NotIncreasing NotInstalled OutOfRange ParseError SolverFailed
        """,
        f"{__name__}.utilities": """
            Exponential Hinge LabelSmoothing Linear Log LogSigmoid NegativePower
            PlackettLuce Power Quadratic Sine Squared Utility register utility
        """,
        f"{__name__}.laws": "RewardLaw",
        f"{__name__}.programs": "Anchored Box Centered Comparisons Confined Domain Free Solution",
        f"{__name__}.finite": "Solutions solve solve_many",
        f"{__name__}.finite.max_margin": "max_margin",
        f"{__name__}.limit": """
            Laws LimitLaw atom_mass atom_parameter closed_form limit_many predicted_rewards
        """,
        f"{__name__}.limit.solve": "limit",
        f"{__name__}.data": "LogSummary RewardLog read_log data",
        f"{__name__}.design": "Design Recommendation recommend",
        f"{__name__}.design.design": "design",
        f"{__name__}.sweeps": "sweep",
        f"{__name__}.capacity": "Head HeadPath Memory fit_head head_path memory penalty_of",
        f"{__name__}.testing": "testing",
        f"{__name__}.diagnosis": "Diagnosis diagnose diagnosis",
        f"{__name__}.figures": "figures",
        f"{__name__}.training": "training",
        f"{__name__}.experiment": "experiment",
    },
)
