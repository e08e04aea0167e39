"""MAXIM's weights into a run folder, and back under the authors' names."""

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from deblur_jax import models
from deblur_jax.models import maxim_files
from deblur_jax.ops import tfjs, weight_files
from deblur_jax.state import Params

LAYOUT = 'maxim'
ABOUT = 'google-research/maxim: MAXIM'
NETWORK = 'maxim'
ROLES = ('net', 'generator')
PREFIX = 'params/'     # of the names that are written to .npz


def place(nets: Mapping[str, Any]) -> str | None:
  """Which of `config.nets` it is; None where they have no generator."""
  return next((role for role in ROLES if role in nets), None)


def skipped(weights: maxim_files.Weights) -> dict[str, str]:
  """What of the file is left out -> why, a folder of names a line."""
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
  """Their name -> {'ours', 'shape', 'dtype'}, as convert.json has it.

  Args:
    net: the network.
    arrays: their name -> (ours, dtype in the file).
  """
  shapes = maxim_files.leaves(net)
  return {theirs: {'ours': ours, 'shape': list(shapes[ours]), 'dtype': dtype}
          for theirs, (ours, dtype) in arrays.items()}


def sha256(path: str | os.PathLike) -> str:
  """Of a file, or of the model.json of a folder."""
  return weight_files.sha256(
      os.path.join(path, tfjs.INDEX) if tfjs.is_folder(path) else path)


def options(net) -> dict[str, Any]:
  """The options with which the authors' program makes the same network."""
  return dict(
      features=net.features, depth=net.depth, num_stages=net.stages,
      num_groups=net.groups, num_bottleneck_blocks=net.bottleneck,
      num_supervision_scales=net.scales)


def lacking(network: Mapping[str, Any]) -> Iterator[str]:
  """Lines about heads that the file lacks and the network therefore has not."""
  net = models.build(**network)
  found = maxim_files.leaves(net)
  missing = {name: shape for name, shape in maxim_files.leaves(
      net.clone(scales=net.depth)).items() if name not in found}
  if missing:
    values = sum(map(math.prod, missing.values()))
    modules = sorted({name.rpartition('/')[0] for name in missing})
    yield (f'  the file lacks {len(missing)} arrays, {values:,} values, of '
           f'{", ".join(modules)}: they serve training only, and the network '
           f'has scales={net.scales}')


def to_theirs(
    net, params: Params, *, prefix: str) -> dict[str, np.ndarray]:
  """The parameters by the authors' names, in the order of the names."""
  flat = traverse_util.flatten_dict(params, sep='/')
  arrays = {f'{prefix}{theirs}': np.ascontiguousarray(flat[ours], np.float32)
            for ours, theirs in maxim_files.their_names(net).items()}
  return dict(sorted(arrays.items()))
