"""Evaluation with a reference, without one, and by a detector; reports."""
