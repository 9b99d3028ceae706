"""Models with limits: linear heads on given features, what they would say unseen, memory."""

from collapse_theory.capacity.head import Head, fit_head

__all__ = ["Head", "fit_head"]
