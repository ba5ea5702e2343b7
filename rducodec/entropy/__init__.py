"""Entropy coding in integers (spec, "Entropy coding"): tables, contexts, network, symbols, range coder."""
