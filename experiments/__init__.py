"""The researchers' door: programs, run as `python -m experiments.NAME`."""
