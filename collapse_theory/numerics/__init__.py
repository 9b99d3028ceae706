"""Numerical parts that several rooms need, each once: checks, roots, quadrature, series."""
