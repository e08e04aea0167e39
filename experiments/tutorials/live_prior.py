"""A deep image prior, fitted to one noisy picture while you watch."""

import pathlib

import numpy as np
from PIL import Image

from deblur_jax import data
from deblur_jax.app import prior_fit
from deblur_jax.ops import bit_depth
from deblur_jax.priors import problems, tasks


def run(
    out: pathlib.Path, *, variant: str = 'quick', side: int = 128
) -> list[float]:
  """Removes noise from a built-in photograph without any training set.

  Args:
    out: gets the pictures.
    variant: of the task's config: 'quick', 'full' or 'debug'.
    side: of the picture in pixels.

  Returns:
    PSNR after each chunk of steps, in dB.
  """
  sharp = data.open_source(name='builtin', split='test').read(4)['sharp']
  sharp = bit_depth.to_float(sharp[:side, :side])
  # The problem as the paper makes it: noise of 25/255.
  batch = tasks.noisy(np.random.default_rng(0), sharp)
  config = tasks.config('denoise', variant)

  # The network has seen no other picture. It fits the photograph before the
  # noise, so the PSNR rises and falls again; the rule `stopping` finds the step
  # without the sharp picture.
  curve = []
  for progress in prior_fit.fit(config, problems.Problem('photo', batch)):
    error = np.mean((progress.image - sharp) ** 2)
    curve.append(float(-10 * np.log10(error)))
    print(f'step {progress.steps:5}: {curve[-1]:.2f} dB', flush=True)
  pictures = np.hstack([batch['observed'], progress.image, sharp])
  Image.fromarray(bit_depth.to_uint8(pictures)).save(out / 'compare.png')
  print(f'{out / "compare.png"}: noisy, restored, sharp')
  return curve
