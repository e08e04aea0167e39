r"""Times an iteration of the fit of a deep image prior, as one line of JSON.

  python -m experiments.benchmark prior --config=configs/prior_denoise.py \
      --size=256x256 --images=4

All --images pictures of --size are fitted together, without reading and
writing. --peer=DIR, a checkout of github.com/DmitryUlyanov/deep-image-prior,
also times the authors' code, for configs/prior_denoise.py: both take turns on
the same CPU threads, and `peer_ratio` is our time over theirs. --peer_python is
a Python that has torch.
"""

import json
from typing import Any

import jax
import numpy as np
from absl import flags

from deblur_jax import methods, models
from deblur_jax.ops import macs
from deblur_jax.priors import solve
from deblur_jax.training import loop, parallel
from experiments import config_flag
from experiments.benchmark import peers, timing

STEPS = 5     # iterations in one program


def define_flags() -> None:
  """Those of this subject."""
  config_flag.define()
  flags.mark_flag_as_required('config')
  flags.DEFINE_string('size', '256x256', 'Result, HEIGHTxWIDTH.')
  flags.DEFINE_integer(
      'images', 1, 'Pictures that are fitted together.', lower_bound=1)
  flags.DEFINE_bool(
      'in_turn', None, 'Fit one picture after another; by default on CPUs.')
  flags.DEFINE_integer(
      'repeats', 10, 'Timed rounds, after two uncounted ones.', lower_bound=1)
  peers.define_flags()


def main(argv):
  """Prints the line of JSON."""
  del argv
  values = flags.FLAGS
  size, config = timing.parse_size(values.size), config_flag.value().to_dict()
  print(json.dumps(measure(
      config, size, images=values.images, in_turn=values.in_turn,
      repeats=values.repeats,
      peer=peers.from_flags(config, size, what=('train',)))))


def measure(
    config: dict[str, Any], size: tuple[int, int], *, images: int,
    repeats: int, in_turn: bool | None = None, peer: peers.Peer | None = None
) -> dict[str, Any]:
  """Seconds of an iteration, all images together, and what belongs to them.

  Args:
    config: plain dicts, of a task that needs nothing but the picture.
    size: height and width of the result, pixels.
    images: how many are fitted together; the peer fits one.
    repeats: timed rounds of STEPS iterations.
    in_turn: see `loop.make_chunk`.
    peer: the official code to compare with.

  Raises:
    UserError: what the config refuses.
  """
  solve.check(config)
  method, mesh = methods.build(config), parallel.data_mesh()
  parallel.check_batch_size(images, mesh)
  factor = config['method'].get('factor', 1)
  net = models.build(**config['nets'][next(iter(config['nets']))])
  shape = (images, *(side // factor for side in size), net.channels)
  batch = {'observed': np.asarray(jax.random.uniform(jax.random.key(0), shape))}
  state = loop.spread(method.init(jax.random.key(0), batch), mesh)
  batch = parallel.put(batch, parallel.split_batch(mesh))
  key = parallel.put_key(jax.random.key(0), mesh)
  chunk = loop.make_chunk(method, steps=STEPS, mesh=mesh, in_turn=in_turn)
  compiled, seconds = timing.compile_program(chunk, state, batch, key)
  flop = 2 * macs.macs(method.step, state, batch, key)
  parameters = models.count_parameters(state.params) // images

  def run():
    nonlocal state
    state, curve = compiled(state, batch, key)
    jax.block_until_ready((state, curve))

  program = timing.Program(compiled, run, seconds, shape, flop)
  fit = timing.measure(
      program, peers.runs(peer, 'train'), dtype=net.dtype, repeats=repeats,
      steps=STEPS)
  return timing.report(
      {'fit': fit}, dtype=net.dtype, parameters=parameters, peer=peer)
