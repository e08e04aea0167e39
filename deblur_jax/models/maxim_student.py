"""A smaller MAXIM that begins with the weights of a larger one.

The student has one stage, and fewer levels or groups, and may work on
unshuffled pixels. Whatever it shares with the teacher's first stage it takes;
so it need not learn from nothing.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from deblur_jax import models, types
from deblur_jax.models import maxim

SOFT = 0.1    # times what is drawn of layers that lead up from new ones


def begin(
    student: maxim.MAXIM, teacher: maxim.MAXIM, params: Mapping[str, Any],
    key: types.Array) -> dict[str, Any]:
  """Parameters of a student, from those of its teacher where it has such.

  A convolution that joins several levels keeps the inputs of the student's
  levels. The first layers take of unshuffled pixels the mean, and the last give
  all of them the same. What the teacher does not have is drawn.

  Args:
    student: of one stage.
    teacher: of as many channels.
    params: the teacher's.
    key: a PRNG key, of what is drawn.

  Returns:
    A tree as of `models.init(student, key)`.

  Raises:
    UserError: the student is no part of the teacher.
  """
  if (student.stages, student.features) != (1, teacher.features) or (
      student.depth > teacher.depth or student.groups > teacher.groups):
    raise types.UserError(
        'A student of MAXIM has stages=1, the features of its teacher, and no '
        f'more depth and groups, got {student} of {teacher}.')
  drawn = traverse_util.flatten_dict(models.init(student, key), sep='/')
  theirs = traverse_util.flatten_dict(params, sep='/')
  names = dict(zip(_resamplers(student.depth),
                   _resamplers(teacher.depth, student.depth), strict=True))
  found = {}
  for name, leaf in drawn.items():
    top, _, rest = name.partition('/')
    value = theirs.get(f'{names.get(top, top)}/{rest}')
    value = None if value is None else _fitted(
        np.asarray(value), leaf.shape, name, student, teacher)
    if value is None:
      value = leaf * (SOFT if 'ConvTranspose' in name else 1)
    found[name] = value
  return jax.tree.map(np.asarray, traverse_util.unflatten_dict(found, sep='/'))


def _resamplers(depth, wanted=None):
  """Names of the first stage's UpSampleRatio between the levels `wanted`.

  In the order of `maxim.MAXIM`: into the skips, then into the decoders.
  """
  wanted = depth if wanted is None else wanted
  pairs = [(i, j) for i in reversed(range(depth)) for j in range(depth)]
  pairs += [(i, j) for i in reversed(range(depth))
            for j in reversed(range(depth))]
  return [f'UpSampleRatio_{number}' for number, pair in enumerate(pairs)
          if max(pair) < wanted]


def _fitted(value, shape, name, student, teacher):
  """The teacher's leaf in the student's shape, or None where it has none."""
  if value.shape == shape:
    return value
  pixels = student.unshuffle**2
  if 'input_conv' in name:
    return np.repeat(value, pixels, axis=2) / pixels
  if 'supervised_attention' in name and 'Conv_1' in name:
    return np.repeat(value, pixels, axis=-1)
  if name.endswith('Conv_0/kernel') and value.shape[-1] == shape[-1]:
    if 'cross_gating' in name:             # levels 0, 1, ...
      return value[:, :, :shape[2]]
    if 'decoder' in name:                  # x, then levels ..., 1, 0
      skipped = value.shape[2] - shape[2]
      first = shape[-1]
      return np.concatenate(
          [value[:, :, :first], value[:, :, first + skipped:]], axis=2)
  return None
