r"""Learns parameters with which fits of deep image priors need fewer steps.

  python -m experiments.prior_start --task=denoise --truth=PHOTOS --crop=128 \
      --rounds=100 --out=start.npz
  python -m experiments.prior --task=denoise --start=start.npz --input=... \
      --out=OUT --config.total_steps=300

The photos are corrupted as by experiments.prior. A start is for the network of
its config, and is best for pictures of the size of its crops.
"""

import pathlib
import sys

import tqdm
from absl import flags

from experiments import common, prior


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax import errors
  from deblur_jax.ops import array_files
  from deblur_jax.priors import initialization

  options = flags.FLAGS
  out = pathlib.Path(options.out)
  if out.suffix != '.npz':
    raise errors.UserError(f'--out={out} must end in .npz.')
  errors.make_folder(out.parent)
  config = prior.complete(prior.read_config())
  problems = prior.read_problems(config)
  with tqdm.tqdm(file=sys.stderr, unit='round', total=options.rounds,
                 disable=None) as bar:
    def on_round(done, loss):
      bar.set_postfix_str(f'loss {loss:.5f}')
      bar.update(done - bar.n)

    start = initialization.learn(
        config, problems, rounds=options.rounds, steps=options.steps,
        rate=options.rate, at_once=options.at_once, on_round=on_round)
  array_files.save_tree(out, start)
  print(f'The start is in {out}, learned from {len(problems)} pictures.')


if __name__ == '__main__':
  prior.define_problem_flags()
  prior.define_program_flags('File to write, .npz.')
  flags.DEFINE_integer('rounds', 100, 'How often the start moves.',
                       lower_bound=1)
  flags.DEFINE_integer('steps', 50, 'Of the fits of a round.', lower_bound=1)
  flags.DEFINE_float('rate', 1.0, 'How far it moves in the first round.')
  common.run(main)
