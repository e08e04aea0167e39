"""Models by name, by a file of weights, or by the folder of a run.

A shipped model is a card, `weights/NAME.json`, and a file of weights beside
it, which several cards may share: the card says what the model is, what it was
trained on and under which terms, how it scores, and the SHA-256 of its weights.
Files of MAXIM's weights tell their network themselves, see
`models.maxim_files`. Nothing is downloaded.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from deblur_jax import errors
from deblur_jax.ops import atomic_files
from deblur_jax.pretrained.cards import CARD as CARD
from deblur_jax.pretrained.cards import DEFAULT as DEFAULT
from deblur_jax.pretrained.cards import SHIPPED, card, names

ROLE = 'net'
AUTO = 'auto'
Path = str | os.PathLike
# Of weights that are loaded without a folder of a run.
FILES = ('.npz', '.safetensors')
_A_FILE = ('{} is a file, and a model is a folder, or a .npz or .safetensors '
           "of MAXIM's weights: `deblur convert` makes a folder of others.")


class Model(NamedTuple):
  """What restores.

  name: as it was asked for.
  method: a `state.Method`: its `restore`, in the dtype that was asked for.
  exact: the same in float32; None where `method` computes in that.
  state: a `state.TrainState`: its weights, on `mesh`.
  mesh: the first device of this process.
  card: of a shipped model; {} for a run.
  tiling: keywords of `tiling.build` that suit the network.
  """

  name: str
  method: Any
  exact: Any
  state: Any
  mesh: Any
  card: Mapping[str, Any]
  tiling: Mapping[str, Any] = {}


def verify(name: str, *, folder: Path = SHIPPED) -> None:
  """Raises a UserError where the weights are not those of the card."""
  from deblur_jax.ops import weight_files

  found = card(name, folder=folder)
  weight_files.check_sha256(
      pathlib.Path(folder, found['weights']), found['sha256'])


def load(
    where: Path, *, dtype: str | None = None, which: str = 'last',
    folder: Path = SHIPPED) -> Model:
  """A shipped model by its name, MAXIM's weights, or the model of a run.

  Args:
    where: a name, or a path with a separator or of something that is there: a
      file of MAXIM's weights or a folder of TensorFlow.js, which restores with
      all its stages, or the folder of a run, also one
      that `experiments.convert_weights` wrote.
    dtype: what the network computes in, 'float32' or 'bfloat16'; AUTO takes
      for a shipped model and for a file what `precision.fastest` finds. By
      default as the model was made.
    which: of a run: 'last' or 'best' checkpoint, or a step.
    folder: of the shipped models.

  Raises:
    UserError: no such model or run, damaged weights, weights that do not fit,
      a dtype that cannot be.
  """
  name = os.fspath(where)
  path = pathlib.Path(name)
  if (path / 'config.json').exists():
    return _of_run(name, dtype, which)
  if name not in names(folder):
    if path.suffix in FILES or (path / 'model.json').is_file():
      return _of_file(name, dtype)
    if path.is_file():
      raise errors.UserError(_A_FILE.format(name))
    if os.sep in name:
      return _of_run(name, dtype, which)
  found = card(name, folder=folder)
  verify(name, folder=folder)
  return _of_card(name, found, dtype, folder)


def write(
    run: Path, name: str, *, about: Mapping[str, Any], which: str = 'last',
    dtype: str = 'float32', mean_with: tuple[str, float] | None = None,
    folder: Path = SHIPPED) -> pathlib.Path:
  """Makes the restoring network of a run a shipped model.

  Args:
    run: the folder.
    name: of the model.
    about: 'summary', 'sources' and whatever else its card shall say.
    which: checkpoint.
    dtype: in which the weights are stored.
    mean_with: (another run or model of the same network, its share in [0, 1]):
      the weights are the mean of both.
    folder: of the shipped models.

  Returns:
    The card's path.

  Raises:
    UserError: no such run, or files that cannot be written.
  """
  import jax

  from deblur_jax import models
  from deblur_jax.inference import batches
  from deblur_jax.methods import pretrained
  from deblur_jax.ops import weight_files
  from deblur_jax.training import workdir

  start = pretrained.Start(os.fspath(run), which)
  net = pretrained.network(start) | {'dtype': 'float32'}
  params = pretrained.any_weights(start)
  if mean_with:
    other, share = mean_with
    theirs = pretrained.weights(models.build(**net), pretrained.Start(other))
    params = jax.tree.map(
        lambda a, b: (1 - share) * a + share * b, params, theirs)
  receptive_field = batches.receptive_field(
      _method(models.build(**net)), _state(params), _mesh())
  weights = errors.make_folder(folder) / f'{name}.safetensors'
  write_weights(weights, params, dtype=dtype)
  path = weights.with_suffix('.json')
  workdir.write_json(path, {
      'net': net,
      'weights': weights.name,
      'sha256': weight_files.sha256(weights),
      'parameters': models.count_parameters(params),
      'receptive_field': receptive_field, **about})
  return path


def write_weights(
    path: pathlib.Path, params: Mapping[str, Any], *, dtype: str = 'float32'
) -> None:
  """Writes a tree of parameters as .safetensors, whole or not at all.

  Args:
    path: of the file.
    params: dicts of arrays.
    dtype: in which they are stored.

  Raises:
    UserError: it cannot be written.
  """
  from flax import traverse_util
  from safetensors import numpy as safetensors_numpy

  flat = {key: value.astype(dtype) for key, value
          in traverse_util.flatten_dict(params, sep='/').items()}
  atomic_files.write(path, safetensors_numpy.save(flat))


def _of_card(name, found, dtype, folder) -> Model:
  from deblur_jax import models
  from deblur_jax.ops import weight_files

  # The card's SHA-256 vouches for the shapes.
  params = models.own(models.build(**found['net']), weight_files.read_tree(
      pathlib.Path(folder, found['weights']),
      what=f'the weights of the model {name}'))
  return _of_weights(name, found['net'], params, dtype, found)


def _of_file(name, dtype) -> Model:
  from deblur_jax import models
  from deblur_jax.models import maxim_files

  if os.path.exists(name) and not maxim_files.holds(name):
    raise errors.UserError(_A_FILE.format(name))
  weights = maxim_files.read(name)
  network = weights.network | {'scales': 1, 'dtype': 'float32'}
  params = models.own(models.build(**network), weights.params)
  return _of_weights(name, network, params, dtype, {})


def _of_weights(name, network, params, dtype, found) -> Model:
  """The model of a network and its parameters; `found` is its card."""
  import jax
  import numpy as np

  from deblur_jax import models
  from deblur_jax.ops import precision
  from deblur_jax.training import parallel

  exact = models.build(**network)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)
  if dtype == AUTO:
    dtype = precision.fastest()
  nets = [exact]
  if dtype and dtype != 'float32':
    nets.insert(0, models.build(**network | {'dtype': dtype}))
  mesh = _mesh()
  methods = [_method(net) for net in nets] + [None]
  state = jax.device_put(_state(params), parallel.replicated(mesh))
  return Model(name, methods[0], methods[1], state, mesh, found,
               models.tiling(exact))


def _state(params):
  import numpy as np

  from deblur_jax.state import TrainState

  return TrainState(
      step=np.zeros((), np.int32), params={ROLE: params}, opt_state={})


def _method(net):
  from deblur_jax import models
  from deblur_jax.state import Method

  def restore(state, blur):
    return net.apply({'params': state.params[ROLE]}, blur)[0]

  return Method(init=None, step=None, restore=restore,
                window=models.window(net), identity=repr(net))


def _of_run(name, dtype, which) -> Model:
  from deblur_jax import methods, models
  from deblur_jax.evaluation import test_sets
  from deblur_jax.training import workdir

  folder = pathlib.Path(name)
  config = workdir.read_config(folder)
  _check_config(config, folder / workdir.CONFIG)
  if config['method'].get('name') in ('kernel', 'blur_type'):
    raise errors.UserError(
        f'{name} learned to tell of blur, not to restore: take another run.')
  dtype = None if dtype == AUTO else dtype
  own, exact = (_computing(config, kind) for kind in (dtype, 'float32'))
  method, state, mesh = test_sets.load_on_one_device(own, folder, which=which)
  method = method._replace(identity=json.dumps(own, sort_keys=True))
  exact = None if own == exact else methods.build(
      exact, from_checkpoint=True)._replace(
          identity=json.dumps(exact, sort_keys=True))
  nets = [models.build(**net) for net in config['nets'].values()]
  return Model(name, method, exact, state, mesh, {},
               models.tiling(nets[0]) if len(nets) == 1 else {})


def _check_config(config, path):
  """Raises a UserError where a config is not of a run."""
  from deblur_jax.training import workdir

  wanted = ['method.name', 'total_steps', 'data.loader.crop',
            *(f'nets.{key}.name' for key in config.get('nets', ['net']))]
  known = {*config, *workdir.flatten(config)}
  lacking = [key for key in (*wanted, 'optim') if key not in known]
  if lacking:
    raise errors.UserError(f'{path} is not of a run: it has no {lacking[0]}.')


def _computing(config, dtype):
  """The config with all networks that have a choice computing in `dtype`.

  Without one, with what they compute in written out.
  """
  from deblur_jax import models

  nets = {}
  for key, net in config['nets'].items():
    own = getattr(models.build(**net), 'dtype', None)
    nets[key] = net | {'dtype': dtype or own} if own else net
  return config | {'nets': nets}


def _mesh():
  import jax

  from deblur_jax.training import parallel

  return parallel.data_mesh(jax.local_devices()[:1])
