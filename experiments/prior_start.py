r"""Learns where deep image priors begin, so that fits need fewer steps.

  python -m experiments.prior_start --task=denoise --truth=PHOTOS --crop=128 \
      --rounds=100 --output=start.npz
  python -m experiments.prior --task=denoise --start=start.npz --input=... \
      --output=OUT --config.total_steps=300

The photos are corrupted as experiments.prior does it. A start belongs to the
network of its config, and is best for pictures of its crop's size.
"""

import pathlib
import sys

import tqdm
from absl import flags

from experiments import common
from experiments import prior as program

_ROUNDS = flags.DEFINE_integer('rounds', 100, 'How often the start moves.')
_STEPS = flags.DEFINE_integer('steps', 50, 'Of the fits of a round.')
_RATE = flags.DEFINE_float('rate', 1.0, 'How far it moves at the beginning.')


def main(argv):
  """Returns 0."""
  del argv
  from deblur_jax import errors
  from deblur_jax.ops import arrays
  from deblur_jax.priors import solve

  out = pathlib.Path(program.OUTPUT.value)
  if out.suffix != '.npz':
    raise errors.UserError(f'--output={out} must end in .npz.')
  errors.make_folder(out.parent)
  config = program.resolve()
  tasks = program.problems(config)
  with tqdm.tqdm(file=sys.stderr, unit='round', total=_ROUNDS.value,
                 disable=None) as bar:
    def on_round(done, loss):
      bar.set_postfix_str(f'loss {loss:.5f}')
      bar.update(done - bar.n)

    start = solve.starts.learn(
        config, tasks, rounds=_ROUNDS.value, steps=_STEPS.value,
        rate=_RATE.value, at_once=program.AT_ONCE.value, on_round=on_round)
  arrays.save_tree(out, start)
  print(f'The start is in {out}, of {len(tasks)} pictures.')
  return 0


if __name__ == '__main__':
  sys.argv = program.with_config(sys.argv)
  common.run(main)
