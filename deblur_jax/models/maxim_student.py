"""A smaller MAXIM that starts with the weights of a larger one.

The student has one stage and may have fewer groups, fewer blocks in the
bottleneck, fewer channels at the deep levels, and matrices of low rank. It
takes the weights that it shares with the teacher's first stage, so it does not
start from random ones. The teacher loses little that way if the parts that the
student lacks are faded first (`kept`, `optim.fade`), in some hundred steps of
training.
"""

import fnmatch
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from deblur_jax import errors
from deblur_jax.models import maxim, maxim_files
from deblur_jax.ops import spatial_mixing

# The last layers of groups and blocks: with zeros there they add nothing.
LAST = ('SplitHeadMultiAxisGmlpLayer_{group}/out_project/*',
        'channel_attention_block_1{group}/conv2/*',
        'channel_attention_block_1_{group}/channel_mixing/Dense_1/*')


def begin(
    student: maxim.MAXIM, teacher: maxim.MAXIM, params: Mapping[str, Any]
) -> dict[str, Any]:
  """The initial parameters of a student, from those of its teacher.

  Where the teacher has more channels the student takes evenly spaced ones.
  Matrices over positions are split (`spatial_mixing.split`).

  Args:
    student: of one stage.
    teacher: with as many features and levels.
    params: the teacher's.

  Returns:
    A tree as of `models.init(student, key)`, NumPy.

  Raises:
    UserError: the student is no part of the teacher.
  """
  _check(student, teacher)
  theirs = _without_blocks(
      traverse_util.flatten_dict(params, sep='/'), student, teacher)
  levels = list(zip(teacher.widths, student.widths, strict=True))
  found, splits = {}, {}
  for name, shape in maxim_files.leaves(student).items():
    module, _, part = name.rpartition('/')
    if name in theirs:
      found[name] = _thinned(theirs[name], name, shape, levels)
      continue
    if module not in splits:
      splits[module] = dict(zip(
          ('left', 'right', 'diagonal'),
          spatial_mixing.split(theirs[f'{module}/kernel'], rank=student.rank),
          strict=True))
    found[name] = splits[module][part]
  return traverse_util.unflatten_dict(found, sep='/')


def kept(student: maxim.MAXIM, teacher: maxim.MAXIM) -> dict[str, Any]:
  """The values of the teacher's parameters that the student needs.

  Args:
    student: of one stage and of the teacher's rank.
    teacher: with as many features and levels.

  Returns:
    A tree as of the teacher's parameters, of arrays of bools that broadcast.

  Raises:
    UserError: the student is no part of the teacher.
  """
  _check(student, teacher)
  if student.rank != teacher.rank:
    raise errors.UserError(
        f'A network fades to one of its own rank, {teacher.rank}, not '
        f'{student.rank}.')
  ours = maxim_files.leaves(student)
  silent = list(_silent(student, teacher))
  levels = list(zip(teacher.widths, student.widths, strict=True))
  found = {}
  for name, shape in maxim_files.leaves(teacher).items():
    if name in ours:
      found[name] = np.ones([1] * len(shape), bool)
      for axis, indices in _chosen(name, shape, ours[name], levels):
        mask = np.isin(np.arange(shape[axis]), indices)
        found[name] = found[name] & mask.reshape(
            [-1 if i == axis else 1 for i in range(len(shape))])
    else:
      found[name] = np.asarray(not any(
          fnmatch.fnmatchcase(name, pattern) for pattern in silent))
  return traverse_util.unflatten_dict(found, sep='/')


def _check(student, teacher):
  """Raises a UserError if the student is no part of the teacher."""
  wrong = []
  if student.stages != 1:
    wrong.append(f'stages={student.stages} instead of 1')
  for name in ('features', 'depth', 'unshuffle'):
    ours, theirs = getattr(student, name), getattr(teacher, name)
    if ours != theirs:
      wrong.append(f'{name}={ours} instead of {theirs}')
  for name in ('groups', 'bottleneck'):
    ours, theirs = getattr(student, name), getattr(teacher, name)
    if ours > theirs:
      wrong.append(f'{name}={ours}, more than {theirs}')
  if len(student.widths) == len(teacher.widths) and any(
      np.greater(student.widths, teacher.widths)):
    wrong.append(f'levels of {student.widths} channels, more than '
                 f'{teacher.widths}')
  if teacher.rank not in (0, student.rank):
    wrong.append(f'rank={student.rank} instead of {teacher.rank}')
  if wrong:
    raise errors.UserError(
        f'No student of this MAXIM can have {"; ".join(wrong)}.')


def _silent(student, teacher) -> Iterator[str]:
  """Patterns of layers that must add nothing before they are removed."""
  for group in range(student.groups, teacher.groups):
    yield from (f'*/{last.format(group=group)}' for last in LAST)
  for block in range(student.bottleneck, teacher.bottleneck):
    yield from (f'stage_0_global_block_{block}/{last.format(group="*")}'
                for last in LAST)


def _without_blocks(params, student, teacher):
  """Flat parameters without the last blocks of the bottleneck.

  Such a block is y = 2 (W x + b) and what its layers add. The transposed
  convolutions that read y multiply 2 W and 2 b into their own; b as its mean
  over their 2x2 pixels.
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


def _thinned(value, name, shape, levels):
  """The student's channels of a leaf.

  The variance of a norm over fewer channels is larger if the others were zero;
  a factor of its scale compensates that.
  """
  for axis, indices in _chosen(name, value.shape, shape, levels):
    if name.endswith('/scale'):
      value = value * np.float32(np.sqrt(value.shape[axis] / shape[axis]))
    value = np.take(value, indices, axis=axis)
  return value


def _chosen(name, have, want, levels) -> Iterator[tuple[int, np.ndarray]]:
  """The axes of a leaf to shorten, and the evenly spaced channels to keep.

  The first convolution of an encoder reads the level above and then its own.
  All other channels are of one level, or of several levels with equal numbers.

  Args:
    name: of the leaf.
    have: its shape in the teacher.
    want: its shape in the student.
    levels: (channels in the teacher, in the student) of each level.

  Yields:
    (axis, indices of its channels).
  """
  for axis, (theirs, ours) in enumerate(zip(have, want, strict=True)):
    if theirs == ours:
      continue
    parts = [(theirs, ours)]
    encoder = re.fullmatch(r'stage_0_encoder_block_([1-9]\d*)/Conv_0/kernel',
                           name)
    if encoder and axis == len(have) - 2:
      level = int(encoder[1])
      parts = levels[level - 1:level + 1]
    first, chosen = 0, []
    for part, few in parts:
      chosen.append(first + np.arange(few) * part // few)
      first += part
    yield axis, np.concatenate(chosen)
