r"""Times the synthesis of blur beside SciPy, a line of JSON for each kind.

  python -m experiments.benchmark_blur --kinds=line,trajectory,dynamic_scene

Warm and synchronised: a batch of sharp crops to blurred ones, as in the step of
training. `scipy` is the same with NumPy and scipy.signal.fftconvolve, given the
kernels already, for the kinds that have one a picture; ours and theirs take
turns, and `ratio` is our median over theirs.
"""

import json
import statistics
import time

from absl import flags

from experiments import common

_KINDS = flags.DEFINE_list('kinds', [], 'Of deblur_jax.blur.BLURS; all.')
_BATCH = flags.DEFINE_integer('batch_size', 16, 'Crops.', lower_bound=1)
_CROP = flags.DEFINE_integer('crop', 256, 'Their side.', lower_bound=32)
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Timed runs.', lower_bound=1)


def main(argv):
  del argv
  import jax

  from deblur_jax import blur, errors

  shape = (_BATCH.value, _CROP.value, _CROP.value, 3)
  key = jax.random.key(0)
  sharp = jax.random.uniform(key, shape)
  for kind in _KINDS.value or blur.BLURS:
    errors.look_up(blur.BLURS, kind, what='blur')
    make = jax.jit(blur.build(kind=kind))
    run = lambda make=make: jax.block_until_ready(make(key, sharp))
    first = _seconds(run)
    batch = run()
    peer = _scipy_blur(sharp, batch) if 'kernel' in batch else None
    ours, theirs = [], []
    for _ in range(_REPEATS.value):
      ours.append(_seconds(run))
      if peer:
        theirs.append(_seconds(peer))
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
  import numpy as np
  import scipy.signal

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


def _seconds(run):
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


if __name__ == '__main__':
  common.run(main)
