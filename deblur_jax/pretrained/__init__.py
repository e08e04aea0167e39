"""Trained weights: bundled models, runs, and files of the papers' authors."""
