"""A smaller MAXIM that begins with the weights of a larger one.

The student has one stage, and may have fewer groups, fewer blocks in the
bottleneck, fewer channels at the deep levels, and matrices of low rank. It
takes what it shares with the teacher's first stage; so it need not learn from
nothing. A network loses little that way if it has first faded what the student
lacks (`kept`, `optim.fade`), in some hundred steps of training.
"""

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from deblur_jax import types
from deblur_jax.models import maxim, maxim_files
from deblur_jax.ops import positions

# The last layers of what groups and blocks add to their inputs: where these are
# zero, they add nothing.
LAST = ('SplitHeadMultiAxisGmlpLayer_{group}/out_project/*',
        'channel_attention_block_1{group}/conv2/*',
        'channel_attention_block_1_{group}/channel_mixing/Dense_1/*')


def begin(
    student: maxim.MAXIM, teacher: maxim.MAXIM, params: Mapping[str, Any]
) -> dict[str, Any]:
  """Parameters of a student, from those of its teacher.

  Of more channels than it has it takes evenly spaced ones. Matrices over
  positions are split (`positions.split`).

  Args:
    student: of one stage.
    teacher: of as many features and levels.
    params: the teacher's.

  Returns:
    A tree as of `models.init(student, key)`, NumPy.

  Raises:
    UserError: the student is no part of the teacher.
  """
  _check(student, teacher)
  theirs = _without_blocks(
      traverse_util.flatten_dict(params, sep='/'), student, teacher)
  found, splits = {}, {}
  for name, shape in maxim_files.leaves(student).items():
    module, _, part = name.rpartition('/')
    if name in theirs:
      found[name] = _thinned(theirs[name], name, shape, student)
      continue
    if module not in splits:
      splits[module] = dict(zip(
          ('left', 'right', 'diagonal'),
          positions.split(theirs[f'{module}/kernel'], rank=student.rank),
          strict=True))
    found[name] = splits[module][part]
  return traverse_util.unflatten_dict(found, sep='/')


def kept(student: maxim.MAXIM, teacher: maxim.MAXIM) -> dict[str, Any]:
  """Which values of the teacher's parameters the student needs.

  Args:
    student, teacher: as in `begin`, of one rank.

  Returns:
    A tree as of the teacher's parameters, of arrays of bools that broadcast.

  Raises:
    UserError: the student is no part of the teacher.
  """
  _check(student, teacher)
  if student.rank != teacher.rank:
    raise types.UserError(
        f'Both need one rank, got {student.rank} of {teacher.rank}.')
  ours = maxim_files.leaves(student)
  silent = list(_silent(student, teacher))
  found = {}
  for name, shape in maxim_files.leaves(teacher).items():
    if name in ours:
      found[name] = np.ones([1] * len(shape), bool)
      for axis, indices in _chosen(name, shape, ours[name], student):
        mask = np.isin(np.arange(shape[axis]), indices)
        found[name] = found[name] & mask.reshape(
            [-1 if i == axis else 1 for i in range(len(shape))])
    else:
      found[name] = np.asarray(not any(
          fnmatch.fnmatchcase(name, pattern) for pattern in silent))
  return traverse_util.unflatten_dict(found, sep='/')


def _check(student, teacher):
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


def _silent(student, teacher) -> Iterator[str]:
  """Patterns of layers that must add nothing before they are left out."""
  for group in range(student.groups, teacher.groups):
    yield from (f'*/{last.format(group=group)}' for last in LAST)
  for block in range(student.bottleneck, teacher.bottleneck):
    yield from (f'stage_0_global_block_{block}/{last.format(group="*")}'
                for last in LAST)


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


def _thinned(value, name, shape, student):
  """The student's channels of a leaf.

  A norm over fewer channels has a larger variance if the others were zero; its
  scale makes up for that.
  """
  for axis, indices in _chosen(name, value.shape, shape, student):
    if name.endswith('/scale'):
      value = value * np.float32(np.sqrt(value.shape[axis] / shape[axis]))
    value = np.take(value, indices, axis=axis)
  return value


def _chosen(name, have, want, student) -> Iterator[tuple[int, np.ndarray]]:
  """(axis, which channels of it): evenly spaced ones.

  The first convolution of an encoder reads the level above beside its own; it
  keeps all channels of the level above, which come first.
  """
  for axis, (theirs, ours) in enumerate(zip(have, want, strict=True)):
    if theirs == ours:
      continue
    first = 0
    if len(have) > 1 and axis == len(have) - 2:
      level = name.removeprefix('stage_0_encoder_block_').removesuffix(
          '/Conv_0/kernel')
      if level.isdigit() and int(level):
        first = student.widths[int(level) - 1]
    spaced = (np.arange(ours - first) * (theirs - first)) // (ours - first)
    yield axis, np.concatenate([np.arange(first), first + spaced])
