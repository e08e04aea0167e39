"""Programs for researchers, run as `python -m experiments.NAME`."""

import os
import sys

from deblur_jax import errors

try:
  with errors.needs_extra(
      'ml_collections', extra='train', what='This program'):
    import ml_collections  # noqa: F401
except errors.UserError as _error:
  print(f'error: {_error}', file=sys.stderr)
  raise SystemExit(2) from None

# Without this, TensorFlow and XLA print a page of messages in every run.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# clu imports TensorFlow, which prints that oneDNN is on.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
