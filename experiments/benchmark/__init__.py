"""The benchmark: `python -m experiments.benchmark SUBJECT`, see __main__.py."""
