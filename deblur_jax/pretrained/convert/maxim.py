"""Converts MAXIM's weights to a run folder, and back to the authors' names."""

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from deblur_jax import models
from deblur_jax.models import maxim_files
from deblur_jax.ops import tfjs, weight_files
from deblur_jax.pretrained.convert.name_maps import ROLES
from deblur_jax.state import Params

LAYOUT = 'maxim'
PREFIX = 'params/'     # of names in .npz files


class Row(NamedTuple):
  """The fields of `name_maps.Layout` that MAXIM has, too.

  Attributes:
    about: the program and the network.
    role: a name in `ROLES`.
    network: a name in `models.MODELS`.
    subset: of GoPro, on which the weights were trained.
  """

  about: str = 'google-research/maxim: MAXIM'
  role: str = 'generator'
  network: str = 'maxim'
  subset: str = 'blur'

  def place(self, nets: Mapping[str, Any]) -> str | None:
    """Returns the network's key in `config.nets`; None if it has none."""
    return next((name for name in ROLES[self.role] if name in nets), None)


ROW = Row()


def skipped(weights: maxim_files.Weights) -> dict[str, str]:
  """Lists the skipped arrays of a file.

  Args:
    weights: the content of the file.

  Returns:
    {group of names: reason}.
  """
  found = {}
  for name in weights.others:
    folder, _, rest = name.rpartition('/')
    group = f'{"/".join(folder.split("/")[:2])}/*' if rest and folder else name
    found[group] = found.get(group, 0) + 1
  return {group: "not a parameter, such as the optimizer's state: "
                 f'{count:,} array{"s" * (count > 1)}'
          for group, count in found.items()}


def names(
    net, arrays: Mapping[str, tuple[str, str]]
) -> dict[str, dict[str, Any]]:
  """Lists the converted arrays for convert.json.

  Args:
    net: the network.
    arrays: their name -> (our name, dtype in the file).

  Returns:
    Their name -> {'ours', 'shape', 'dtype'}.
  """
  shapes = maxim_files.leaves(net)
  return {theirs: {'ours': ours, 'shape': list(shapes[ours]), 'dtype': dtype}
          for theirs, (ours, dtype) in arrays.items()}


def sha256(path: str | os.PathLike) -> str:
  """Computes the SHA-256 of a file, or of the model.json of a folder."""
  return weight_files.sha256(
      os.path.join(path, tfjs.INDEX) if tfjs.is_folder(path) else path)


def options(net) -> dict[str, Any]:
  """Returns the options of the authors' program for the same network."""
  return dict(
      features=net.features, depth=net.depth, num_stages=net.stages,
      num_groups=net.groups, num_bottleneck_blocks=net.bottleneck,
      num_supervision_scales=net.scales)


def lacking(network: Mapping[str, Any]) -> Iterator[str]:
  """Describes output heads that are neither in the file nor in the network.

  Args:
    network: keyword arguments of `models.build`.

  Yields:
    A line for the user, if heads are missing.
  """
  net = models.build(**network)
  found = maxim_files.leaves(net)
  missing = {name: shape for name, shape in maxim_files.leaves(
      net.clone(scales=net.depth)).items() if name not in found}
  if missing:
    values = sum(map(math.prod, missing.values()))
    modules = sorted({name.rpartition('/')[0] for name in missing})
    yield (f'  the file lacks {len(missing)} arrays, {values:,} values, of '
           f'{", ".join(modules)}: only training needs them, and the network '
           f'has scales={net.scales}')


def to_theirs(
    net, params: Params, *, prefix: str) -> dict[str, np.ndarray]:
  """Converts parameters to the authors' names.

  Args:
    net: the network.
    params: its parameters.
    prefix: of the names.

  Returns:
    {name: float32 array}, in the order of the names.
  """
  flat = traverse_util.flatten_dict(params, sep='/')
  arrays = {f'{prefix}{theirs}': np.ascontiguousarray(flat[ours], np.float32)
            for ours, theirs in maxim_files.their_names(net).items()}
  return dict(sorted(arrays.items()))
