"""Trained weights: bundled models, runs, and the papers' own files."""
