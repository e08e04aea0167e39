"""Loads models by name, from a file of weights, or from the folder of a run.

A bundled model is a card, `weights/NAME.json`, and a file of weights in the
same folder, which several cards may share. The card describes the model, its
training data and licence, its scores, and the SHA-256 of its weights. The
network of MAXIM's weights follows from their shapes, see `models.maxim_files`.
Nothing is downloaded.
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
# Suffixes of weights that are loaded without the folder of a run.
FILES = ('.npz', '.safetensors')
_A_FILE = ("{} is no model: a model is a folder, or MAXIM's weights as .npz or "
           '.safetensors; `deblur convert` makes a folder of other weights.')


class Model(NamedTuple):
  """A model that restores.

  Attributes:
    name: the name or path that the user gave.
    method: a `state.Method` in the requested dtype.
    exact: the same in float32; None if `method` is in float32.
    dtype: in which `method` computes, such as 'bfloat16'.
    state: a `state.TrainState` with the weights, on `mesh`.
    mesh: the first device of this process.
    card: of a bundled model; {} for others.
    tiling: keyword arguments of `tiling.build` for the network.
  """

  name: str
  method: Any
  exact: Any
  dtype: str
  state: Any
  mesh: Any
  card: Mapping[str, Any]
  tiling: Mapping[str, Any] = {}


def verify(name: str, *, folder: Path = SHIPPED) -> None:
  """Checks the weights of a bundled model against its card.

  Args:
    name: of the model.
    folder: of the bundled models.

  Raises:
    UserError: there is no such model, or the weights have another SHA-256.
  """
  from deblur_jax.ops import weight_files

  found = card(name, folder=folder)
  weight_files.check_sha256(
      pathlib.Path(folder, found['weights']), found['sha256'])


def load(
    where: Path, *, dtype: str | None = None, which: str = 'last',
    folder: Path = SHIPPED) -> Model:
  """Loads a bundled model, MAXIM's weights, or the model of a run.

  Args:
    where: the name of a bundled model, or a path: of a file with MAXIM's
      weights, of a folder of TensorFlow.js, or of the folder of a run, also of
      `experiments.convert_weights`.
    dtype: of the computation, 'float32' or 'bfloat16'. AUTO uses
      `precision.fastest` for a bundled model and for a file. None is the
      model's own dtype.
    which: the checkpoint of a run: 'last', 'best' or a step.
    folder: of the bundled models.

  Returns:
    The model.

  Raises:
    UserError: there is no such model or run, the weights are damaged or do not
      fit, or the dtype is invalid.
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
    if path.name != name:    # with a folder
      return _of_run(name, dtype, which)
  found = card(name, folder=folder)
  verify(name, folder=folder)
  return _of_card(name, found, dtype, folder)


def write(
    run: Path, name: str, *, about: Mapping[str, Any], which: str = 'last',
    dtype: str = 'float32', mean_with: tuple[str, float] | None = None,
    folder: Path = SHIPPED) -> pathlib.Path:
  """Writes the restoring network of a run as a bundled model.

  Args:
    run: the folder of the run.
    name: of the model.
    about: the card's other entries: 'summary', 'sources', ...
    which: the checkpoint: 'last', 'best' or a step.
    dtype: of the stored weights.
    mean_with: (another run or model of the same network, its weight in [0, 1]):
      the stored weights are the weighted mean of both.
    folder: of the bundled models.

  Returns:
    The path of the card.

  Raises:
    UserError: there is no such run, the networks differ, or a file cannot be
      written.
  """
  import jax

  from deblur_jax import models
  from deblur_jax.inference import restoration
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
  receptive_field = restoration.receptive_field(
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
  """Writes a tree of parameters as .safetensors, atomically.

  Args:
    path: of the file.
    params: dicts of arrays.
    dtype: of the stored arrays.

  Raises:
    UserError: the file cannot be written.
  """
  from flax import traverse_util
  from safetensors import numpy as safetensors_numpy

  flat = {key: value.astype(dtype) for key, value
          in traverse_util.flatten_dict(params, sep='/').items()}
  atomic_files.write(path, safetensors_numpy.save(flat))


def _of_card(name, found, dtype, folder) -> Model:
  from deblur_jax import models
  from deblur_jax.ops import weight_files

  # The SHA-256 was checked, so the shapes are right.
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
  return Model(name, methods[0], methods[1], dtype or 'float32', state, mesh,
               found, models.tiling(exact))


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
  if config['method'].get('name') in (
      'kernel_estimation', 'blur_classification'):
    raise errors.UserError(
        f'{name} is a run of a method that estimates blur and does not restore:'
        ' choose another run.')
  dtype = None if dtype == AUTO else dtype
  own, exact = (_computing(config, kind) for kind in (dtype, 'float32'))
  method, state, mesh = test_sets.load_on_one_device(own, folder, which=which)
  method = method._replace(identity=json.dumps(own, sort_keys=True))
  exact = None if own == exact else methods.build(
      exact, from_checkpoint=True)._replace(
          identity=json.dumps(exact, sort_keys=True))
  nets = [models.build(**net) for net in config['nets'].values()]
  dtypes = {net.get('dtype', 'float32') for net in own['nets'].values()
            if models.NETWORKS[net['name']].kind != 'discriminator'}
  return Model(name, method, exact, ' and '.join(sorted(dtypes)), state, mesh,
               {}, models.tiling(nets[0]) if len(nets) == 1 else {})


def _check_config(config, path):
  """Raises a UserError if a config is not that of a run."""
  from deblur_jax.training import workdir

  wanted = ['method.name', 'total_steps', 'data.loader.crop',
            *(f'nets.{key}.name' for key in config.get('nets', ['net']))]
  known = {*config, *workdir.flatten(config)}
  lacking = [key for key in (*wanted, 'optim') if key not in known]
  if lacking:
    raise errors.UserError(
        f'{path} is not the config of a run: it has no {lacking[0]}.')


def _computing(config, dtype):
  """The config with `dtype` set for all networks that have this option.

  Where `dtype` is None each network's own dtype is written out.
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
