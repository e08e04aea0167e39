"""A smaller MAXIM that begins with the weights of a larger one.

The student has one stage, and may have fewer groups, fewer blocks in the
bottleneck, fewer channels at the deep levels, and matrices of low rank. It
takes what it shares with the teacher's first stage; so it need not learn from
nothing.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from deblur_jax import models, types
from deblur_jax.models import maxim
from deblur_jax.ops import positions


def begin(
    student: maxim.MAXIM, teacher: maxim.MAXIM, params: Mapping[str, Any]
) -> dict[str, Any]:
  """Parameters of a student, from those of its teacher.

  Of more channels than it has it takes evenly spaced ones, and makes up for the
  inputs that are missing by a larger kernel. Matrices over positions are split
  (`positions.split`).

  Args:
    student: of one stage.
    teacher: of as many features and levels.
    params: the teacher's.

  Returns:
    A tree as of `models.init(student, key)`, NumPy.

  Raises:
    UserError: the student is no part of the teacher.
  """
  alike = ('features', 'depth', 'unshuffle')
  no_more = ('groups', 'bottleneck', 'widths')    # in each of its levels
  if (student.stages != 1
      or any(getattr(student, name) != getattr(teacher, name)
             for name in alike)
      or any(np.greater(getattr(student, name), getattr(teacher, name)).any()
             for name in no_more)
      or teacher.rank not in (0, student.rank)):
    raise types.UserError(
        f'A student of MAXIM has stages=1, the {", ".join(alike)} of its '
        'teacher, no more groups, bottleneck and widest, and the rank where '
        f'that has one; got {student} of {teacher}.')
  theirs = _without_blocks(
      traverse_util.flatten_dict(params, sep='/'), student, teacher)
  found, splits = {}, {}
  for name, like in traverse_util.flatten_dict(
      models.shapes(student), sep='/').items():
    if name not in theirs:
      module, _, part = name.rpartition('/')
      if module not in splits:
        splits[module] = dict(zip(
            ('left', 'right', 'diagonal'),
            positions.split(theirs[f'{module}/kernel'], rank=student.rank),
            strict=True))
      found[name] = splits[module][part]
    else:
      found[name] = _thinned(np.asarray(theirs[name]), like.shape,
                             whole=_whole(name, student))
  return traverse_util.unflatten_dict(found, sep='/')


def _without_blocks(params, student, teacher):
  """Flat parameters without the last blocks of the bottleneck.

  Such a block is y = 2 (W x + b) and what its layers add. The transposed
  convolutions that read y take 2 W and 2 b into theirs; b as its mean over
  their 2x2 pixels.
  """
  params = {name: np.asarray(leaf, np.float32) for name, leaf in params.items()}
  lowest = teacher.depth - 1
  for number in reversed(range(student.bottleneck, teacher.bottleneck)):
    block = f'stage_0_global_block_{number}/input_proj'
    matrix = 2 * params[f'{block}/kernel'][0, 0]
    bias = 2 * params[f'{block}/bias']
    for reader in ('cross_gating', 'decoder'):
      name = f'stage_0_{reader}_block_{lowest}/ConvTranspose_0'
      kernel = params[f'{name}/kernel']
      params[f'{name}/kernel'] = matrix @ kernel
      params[f'{name}/bias'] = params[f'{name}/bias'] + (bias @ kernel).mean(
          (0, 1))
  return params


def _whole(name, student):
  """How many of a layer's inputs, the first ones, come from wider levels.

  The first convolution of an encoder takes the level above beside its own.
  """
  level = name.removeprefix('stage_0_encoder_block_').removesuffix(
      '/Conv_0/kernel')
  return student.widths[int(level) - 1] if level.isdigit() and int(level) else 0


def _thinned(value, shape, *, whole):
  """Evenly spaced channels of a leaf; of its inputs the first `whole` too."""
  for axis, (have, want) in enumerate(zip(value.shape, shape, strict=True)):
    if have == want:
      continue
    is_input = value.ndim > 1 and axis == value.ndim - 2
    first = whole if is_input else 0
    kept = first + (np.arange(want - first) * (have - first)) // (want - first)
    value = np.take(value, [*range(first), *kept], axis=axis)
    if is_input:
      scale = np.ones(want, np.float32)
      scale[first:] = (have - first) / (want - first)
      value = value * scale[:, None]
  return value
