"""Tuners compared on problems whose curves are known: who finds how much for how many steps."""
