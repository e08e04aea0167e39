"""Converts weights of the papers' programs to a folder for `--model`."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

# The config of the run without its network, so that it can be evaluated.
BARE = dict(
    seed=0, total_steps=1, batch_size=1, log_every=1, save_every=1,
    tensorboard=False,
    method=dict(name='supervised', loss='l1', over_scales='sum',
                pyramid='deepdeblur_pytorch'),
    nets=dict(net=dict(name='multiscale')),
    optim=dict(net=dict(name='adam', lr=1e-4)),
    data=dict(train=dict(name='builtin', split='train'),
              test=dict(name='builtin', split='test'),
              loader=dict(backend='resident', crop=64)),
    augment=dict(preset='none'), validate=dict(pictures=1, crop=64))


def run(
    weights: Sequence[str | os.PathLike], out: str | os.PathLike, *,
    layout: str | None = None, options: dict[str, Any]) -> list[str]:
  """Converts files of weights to a run folder.

  Args:
    weights: .pth, .pt, .safetensors or .npz, or a folder of TensorFlow.js;
      code in them is not run.
    out: the new folder; it may exist if it is empty.
    layout: a name in `convert.LAYOUTS`; by default it follows from the names in
      the files.
    options: options that do not follow from the files, see
      `experiments.convert_weights`.

  Returns:
    Lines of `convert.describe`.

  Raises:
    UserError: as `convert.to_run`; the folder is not changed.
  """
  from deblur_jax.pretrained import convert
  from deblur_jax.training import train

  train.check(BARE)
  entries = convert.to_run(
      BARE, pathlib.Path(out), weights, layout=layout, options=options)
  return [line for entry in entries for line in convert.describe(entry)]
