"""The files of people: pictures read and written back, names of the results.

Nothing here imports jax.
"""
