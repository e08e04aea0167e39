r"""Times the synthesis of blur beside SciPy, a line of JSON for each kind.

  python -m experiments.benchmark blur --kinds=line,trajectory,dynamic_scene

A batch of sharp crops becomes blurred ones, as in a training step, warm and
synchronized. SciPy does the same with NumPy and scipy.signal.fftconvolve, for
the kinds that have one kernel for a picture; the kernels are given to it. Both
take turns, and `ratio` is our median over SciPy's.
"""

import json
import statistics

import jax
import numpy as np
import scipy.signal
from absl import flags

from deblur_jax import blur, errors
from experiments.benchmark import timing


def define_flags() -> None:
  """Those of this subject."""
  flags.DEFINE_list('kinds', [], 'Names in deblur_jax.blur.BLURS; all.')
  flags.DEFINE_integer('batch_size', 16, 'Crops.', lower_bound=1)
  flags.DEFINE_integer('crop', 256, 'Side of a crop, pixels.', lower_bound=32)
  flags.DEFINE_integer('repeats', 5, 'Timed rounds.', lower_bound=1)


def main(argv):
  """Prints a line for each kind."""
  del argv
  values = flags.FLAGS
  shape = (values.batch_size, values.crop, values.crop, 3)
  key = jax.random.key(0)
  sharp = jax.random.uniform(key, shape)
  for kind in values.kinds or blur.BLURS:
    errors.look_up(blur.BLURS, kind, what='blur')
    make = jax.jit(blur.build(kind=kind))
    run = lambda make=make: jax.block_until_ready(make(key, sharp))
    first = timing.seconds(run)
    batch = run()
    peer = _scipy_blur(sharp, batch) if 'kernel' in batch else None
    ours, theirs = [], []
    for _ in range(values.repeats):
      ours.append(timing.seconds(run))
      if peer:
        theirs.append(timing.seconds(peer))
    line = {'kind': kind, 'shape': shape, 'first_seconds': first,
            'seconds': statistics.median(ours),
            'spread': [min(ours), max(ours)],
            'device': jax.devices()[0].device_kind}
    if peer:
      line['scipy_seconds'] = statistics.median(theirs)
      line['ratio'] = line['seconds'] / line['scipy_seconds']
    print(json.dumps(line), flush=True)


def _scipy_blur(sharp, batch):
  """A function that blurs by the kernels of `batch`, gamma 2.2, mirrored."""
  sharp, kernels = np.asarray(sharp), np.asarray(batch['kernel'])
  half = kernels.shape[1] // 2
  around = ((half, half), (half, half), (0, 0))

  def run():
    for image, kernel in zip(sharp, kernels, strict=True):
      light = np.pad(image ** np.float32(2.2), around, mode='reflect')
      light = scipy.signal.fftconvolve(
          light, kernel[..., None], mode='valid', axes=(0, 1))
      np.clip(light, 0, 1) ** np.float32(1 / 2.2)

  return run
