"""How good results are: with a reference, without one, and for a detector."""
