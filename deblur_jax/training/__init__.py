"""The trainer: optimizers, devices, checkpoints, the loop and the program."""
