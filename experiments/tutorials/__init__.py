"""Tutorials: programs to run and to read; docs/tutorials.md shows them.

  python -m experiments.tutorials --name=first_restoration --out=OUT

Each has a function `run`, whose options make it smaller or larger.
"""

NAMES = ('first_restoration', 'k_ablation', 'unpaired_physics', 'live_prior')
