r"""Times a config: warm training steps and restoration, as one line of JSON.

  python -m experiments.benchmark network --config=configs/multiscale_gopro.py
  python -m experiments.benchmark network --config=configs/multiscale_gopro.py \
      --what=restore --size=720x1280 --repeats=30

The step is that of training: augmentation, forward, backward, optimizer. It
computes the same batch of the built-in pictures in every round, or of the
config's own data with --real_data: its time does not depend on the values, and
reading is not part of it.

--peer=DIR also times the authors' code: a checkout of
github.com/SeungjunNah/DeepDeblur-PyTorch or, for configs/deblurgan_gopro.py, of
github.com/KupynOrest/DeblurGAN at 39e8a4b. --peer_python=PATH is a Python that
has torch. Both compute the same shapes on the same CPU threads and take turns;
`peer_ratio` is our time over theirs (theirs without augmentation and pyramids).
In bfloat16 their network restores under autocast. --onnx does the same with our
own network as a file in ONNX Runtime, in float32.
"""

import json
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from configs import common as config_common
from deblur_jax import errors, export, models
from deblur_jax.ops import macs
from deblur_jax.training import loop, parallel, train
from experiments import config_flag
from experiments.benchmark import peers, timing


def define_flags() -> None:
  """Those of this subject."""
  config_flag.define()
  flags.mark_flag_as_required('config')
  flags.DEFINE_list('what', ['train', 'restore'], 'train, restore.')
  flags.DEFINE_string('size', '720x1280', 'Restored image, HEIGHTxWIDTH.')
  flags.DEFINE_integer(
      'repeats', 10, 'Timed rounds, after two uncounted ones.', lower_bound=1)
  flags.DEFINE_bool('real_data', False, "Use the config's own data set.")
  flags.DEFINE_bool('onnx', False, 'Restore in ONNX Runtime as well.')
  peers.define_flags()


def main(argv):
  """Prints the line of JSON."""
  del argv
  values = flags.FLAGS
  size = timing.parse_size(values.size)
  config = config_flag.value()
  if 'chunk' in config:
    raise errors.UserError(
        'This config is a prior: python -m experiments.benchmark prior.')
  if not values.real_data:
    with config.unlocked():
      config_common.use_builtin(config)
  config = config.to_dict()
  print(json.dumps(measure(
      config, values.what, size, repeats=values.repeats, onnx=values.onnx,
      peer=peers.from_flags(config, size, what=values.what))))


def measure(
    config: dict[str, Any], what: list[str], size: tuple[int, int], *,
    repeats: int, peer: peers.Peer | None = None, onnx: bool = False
) -> dict[str, Any]:
  """Everything that the line of JSON says.

  Args:
    config: plain dicts.
    what: names in `PROGRAMS`.
    size: height and width of a restored image, pixels.
    repeats: timed rounds of each.
    peer: the official code to compare with.
    onnx: whether restoration is compared with its own file in ONNX Runtime.

  Raises:
    UserError: for an unknown name in `what`, and all that `train.setup` and
      `export.write` raise.
  """
  for name in what:
    errors.look_up(PROGRAMS, name, what='--what')
  parts = train.setup(config)
  state = parts.init()
  nets = config['nets']
  dtype = models.build(**nets[next(iter(nets))]).dtype
  parameters = models.count_parameters(state.params)
  measured = {}
  for name, make in PROGRAMS.items():
    if name in what:
      others = peers.runs(peer, name)
      if onnx and name == 'restore':
        others['onnx'] = _onnx(parts, state, size)
      program = make(parts, state, config=config, size=size)
      measured[name] = timing.measure(
          program, others, dtype=dtype, repeats=repeats)
  return timing.report(
      measured, dtype=dtype, parameters=parameters, peer=peer)


def make_train(parts, state, *, config, size) -> timing.Program:
  """The training step of `train.setup`; it consumes the state."""
  del size
  batch = next(iter(parts.batches(0)))
  compiled, seconds = timing.compile_program(
      parts.step, state, batch, parts.key)
  crop = config['data']['loader']['crop']
  shape = (parts.batch_size, crop, crop, 3)
  flop = 2 * macs.macs(parts.step, state, batch, parts.key)

  def run():
    nonlocal state
    state, metrics = compiled(state, batch, parts.key)
    jax.block_until_ready((state, metrics))

  return timing.Program(compiled, run, seconds, shape, flop)


def make_restore(parts, state, *, config, size) -> timing.Program:
  """Restoration of one random image a device."""
  del config
  shape = (parts.mesh.size, *size, 3 * parts.method.window)
  blur = jax.device_put(
      jax.random.uniform(jax.random.key(0), shape),
      parallel.split_batch(parts.mesh))
  compiled, seconds = timing.compile_program(
      loop.on_mesh(parts.method.restore, parts.mesh), state, blur)
  forward = macs.macs(
      parts.method.restore, state, jax.ShapeDtypeStruct(shape, jnp.float32))
  return timing.Program(
      compiled, lambda: jax.block_until_ready(compiled(state, blur)), seconds,
      shape, 2 * forward)


def _onnx(parts, state, size):
  """Restores as `make_restore` does, by an ONNX file of the network."""
  state = jax.tree.map(np.asarray, state)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'network.onnx')
    export.write(
        path, lambda blur: parts.method.restore(state, blur), kind='onnx')
    run = export.KINDS['onnx'].read(path)
  blur = np.asarray(jax.random.uniform(
      jax.random.key(0), (parts.mesh.size, *size, 3)))
  return lambda: timing.seconds(lambda: run(blur))


PROGRAMS = {
    'restore': make_restore,  # first: training consumes the state
    'train': make_train,
}
