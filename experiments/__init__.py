"""The researchers' door: programs, run as `python -m experiments.NAME`."""

import os

# TensorFlow and XLA would greet every run with a page of their own news.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
