"""Restores pictures by a trained network, in batches and in tiles."""
