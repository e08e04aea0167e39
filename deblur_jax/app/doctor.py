"""Checks the installation: versions, extras, models, devices, one forward."""

import importlib.metadata
import importlib.util
import os
import platform
import time
from typing import NamedTuple

from deblur_jax import errors
from deblur_jax.inference import cache_folder
from deblur_jax.pretrained import zoo

NEEDED = ('jax', 'jaxlib', 'flax', 'numpy', 'pillow')
# extra -> (a module that it installs, its purpose)
EXTRAS = {
    'train': ('tensorflow', 'training'),
    'video': ('av', 'videos'), 'heif': ('pillow_heif', 'HEIC photos'),
    'jxl': ('pillow_jxl', 'JPEG XL'), 'raw': ('rawpy', 'raw photos'),
    'page': ('gradio', 'deblur page'), 'onnx': ('onnx', 'deblur export'),
    'detect': ('onnxruntime', 'detection, and checks of exported files')}
SIZE = 64            # side of the test picture, pixels
TOLERANCE = 1e-2     # greatest difference between a device and the CPU


class Finding(NamedTuple):
  """The result of one check, for a line of output.

  Attributes:
    name: what was checked.
    result: what was found, in one line.
    fine: whether nothing is wrong.
  """

  name: str
  result: str
  fine: bool = True


def examine() -> list[Finding]:
  """Checks versions, extras, models, the cache, devices and one forward."""
  findings = [Finding('python', platform.python_version())]
  findings += [Finding(name, _version(name) or 'missing', bool(_version(name)))
               for name in ('deblur-jax', *NEEDED)]
  for extra, (module, what) in EXTRAS.items():
    installed = importlib.util.find_spec(module) is not None
    findings.append(Finding(
        f'extra {extra}', 'installed' if installed else
        f"missing; for {what}: pip install 'deblur-jax[{extra}]'"))
  named = {name: _model(name)
           for name in dict.fromkeys([zoo.DEFAULT, *zoo.names()])}
  findings += named.values()
  kept = cache_folder.facts()
  findings.append(Finding(
      'cache', kept.line(), not (kept.folder and kept.problem)))
  return findings + _devices(
      [name for name, finding in named.items() if finding.fine])


def _version(name) -> str | None:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None


def _model(name) -> Finding:
  try:
    zoo.verify(name)
  except errors.UserError as error:
    return Finding(f'model {name}', str(error), False)
  return Finding(f'model {name}', 'its weights have the SHA-256 of its card')


def _devices(models) -> list[Finding]:
  import jax

  try:
    devices = jax.devices()
  except RuntimeError as error:
    return [Finding('devices', str(error).splitlines()[0], False)]
  kinds = ', '.join(sorted({device.device_kind for device in devices}))
  return [
      Finding('devices', f'{len(devices)} x {kinds} ({jax.default_backend()})'),
      Finding('cores', str(os.cpu_count())),
      _forward(devices[0], models)]


def _forward(device, intact) -> Finding:
  """Runs the smallest intact model, or a small network, also on the CPU."""
  import jax
  import numpy as np

  from deblur_jax import models
  from deblur_jax.training import loop, parallel

  name = min(intact, key=lambda name: zoo.card(name)['parameters'],
             default=None)
  blur = np.random.default_rng(0).random((1, SIZE, SIZE, 3), np.float32)
  if name:
    net = models.build(**zoo.card(name)['net'])
    params = zoo.load(name).state.params['net']
  else:
    net = models.build(name='single_scale', features=8, blocks=1)
    params = models.init(net, jax.random.key(0))

  def run(where):
    placed = jax.device_put((params, blur), where)
    forward = loop.on_mesh(
        lambda params, x: net.apply({'params': params}, x)[0],
        parallel.data_mesh([where]))
    jax.block_until_ready(forward(*placed))
    start = time.perf_counter()
    result = np.asarray(forward(*placed))
    return result, time.perf_counter() - start

  result, seconds = run(device)
  expected, _ = run(jax.devices('cpu')[0])
  error = float(np.abs(result - expected).max())
  return Finding(
      'one forward', f'{1e3 * seconds:.1f} ms at {SIZE}x{SIZE}; '
      f'{error:.1e} from the CPU', bool(error <= TOLERANCE))
