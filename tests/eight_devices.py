""":debug configs on eight devices: python eight_devices.py FOLDER NAME.

Writes FOLDER/traced.json, {config: its batch_size, or the error}, for one
config of each kind, and trains the config NAME in FOLDER/NAME.
"""

import json
import pathlib
import sys

import helpers
import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.training import train


def trace(name):
  """Traces a step and a restoration; returns the size of the batch."""
  parts = train.setup(helpers.get_config(name).to_dict())
  assert next(parts.batches(0))
  blur = jax.ShapeDtypeStruct(
      (1, 64, 65, 3 * parts.method.window), jnp.float32)
  restored = jax.eval_shape(parts.method.restore, parts.abstract_state, blur)
  assert (restored.shape, restored.dtype) == ((1, 64, 65, 3), blur.dtype)
  return parts.batch_size


def main(folder, name):
  """See above."""
  jax.config.update('jax_num_cpu_devices', 8)
  traced = {}
  for kind in helpers.KINDS:
    try:
      traced[kind] = trace(kind)
    except (AssertionError, errors.UserError) as error:
      traced[kind] = repr(error)
  result = train.run(helpers.get_config(name).to_dict(), folder / name)
  assert result == train.Result(2, True)
  (folder / 'traced.json').write_text(json.dumps(traced))


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]), sys.argv[2])
