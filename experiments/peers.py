"""The authors' PyTorch code beside ours: in a process of its own, in turns."""

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from deblur_jax import errors, models
from deblur_jax.models import multiscale, patchgan, resnet, skip


class Official(NamedTuple):
  """How one of them is run.

  script: beside this file.
  file: of the checkout, by which it is known.
  options: config -> what the script takes; a UserError for what the checkout
    cannot do.
  """

  script: str
  file: str
  options: Callable[[Mapping[str, Any]], dict[str, Any]]


class Peer:
  """The official network in a process of its own."""

  def __init__(self, script, folder, python, options):
    path = pathlib.Path(__file__).with_name(script)
    try:
      self._process = subprocess.Popen(
          [python, str(path), folder, json.dumps(options)], text=True,
          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
      raise errors.UserError(
          f'--peer_python={python}: {error.strerror}.') from error

  def run(self, name: str) -> float:
    """Seconds of one training step or one restoration."""
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(f'{name} 1\n')
      self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      raise errors.UserError(
          'The PyTorch network did not run; its message stands above. Is '
          '--peer a checkout of it, and has --peer_python torch?')
    self.answer = json.loads(line)
    return self.answer['seconds'][0]

  def close(self) -> int:
    """Ends the process; its peak memory in bytes."""
    self._process.stdin.close()
    self._process.wait()
    return self.answer['peak_kib'] * 1024


def start(
    config: Mapping[str, Any], size: tuple[int, int], folder: str, python: str,
    *, what: Sequence[str], channels_last: bool) -> Peer:
  """The official code for the method of a config, with the same shapes.

  Raises:
    UserError: for what it cannot be compared with.
  """
  method = config['method']['name']
  official = OFFICIAL.get(method)
  if official is None:
    raise errors.UserError(
        f'--peer knows {", ".join(OFFICIAL)}, not method.name={method}.')
  if not pathlib.Path(folder, official.file).is_file():
    raise errors.UserError(f'--peer={folder} has no {official.file}.')
  if jax.default_backend() != 'cpu' or jax.device_count() > 1:
    raise errors.UserError('--peer compares on one CPU device only.')
  options = official.options(config)
  if options['dtype'] != 'float32' and list(what) != ['restore']:
    raise errors.UserError(
        f'--peer trains in float32 only, not in {options["dtype"]}: set '
        'dtype=float32, or --what=restore.')
  options |= {
      'size': size, 'threads': len(os.sched_getaffinity(0)),
      'channels_last': channels_last}
  if 'data' in config:
    options |= {'batch': config['batch_size'],
                'crop': config['data']['loader']['crop']}
  return Peer(official.script, folder, python, options)


def _multiscale(config):
  net = models.build(**config['nets']['net'])
  if not isinstance(net, multiscale.MultiScale):
    raise errors.UserError('--peer compares nets.net.name=multiscale only.')
  return {'dtype': net.dtype, 'scales': net.scales, 'features': net.features,
          'blocks': multiscale.num_blocks(net), 'kernel_size': net.kernel_size}


def _deblurgan(config):
  gen, critic = (
      models.build(**config['nets'][name]) for name in ('gen', 'critic'))
  method = config['method']
  if not (isinstance(gen, resnet.ResNet) and gen.upsample == 'transposed'
          and isinstance(critic, patchgan.PatchGAN) and critic.padding == 2
          and method['critic']['gan'] == 'wgan'
          and method['critic']['penalty'] and not method['fresh']
          and method['content'] in ('l1', 'perceptual')):
    raise errors.UserError(
        '--peer compares what configs/deblurgan_gopro.py describes only: '
        'resnet and patchgan, WGAN with a penalty, the same crops for all '
        'critic steps, content l1 or perceptual.')
  return {'dtype': gen.dtype, 'features': gen.features, 'blocks': gen.blocks,
          'dropout': gen.dropout > 0, 'residual': gen.residual,
          'critic_features': critic.features, 'critic_depth': critic.depth,
          'critic_steps': method['critic_steps'],
          'perceptual': method['content'] == 'perceptual'}


def _prior(config):
  net, method = models.build(**config['nets']['net']), config['method']
  if not (isinstance(net, skip.Skip) and not net.attention
          and method['code'] == 'noise' and method['loss'] == 'mse'
          and method.get('factor', 1) == 1):
    raise errors.UserError(
        '--peer compares nets.net.name=skip without attention, with '
        'code=noise, loss=mse and no factor only.')
  return {'dtype': net.dtype, 'depth': net.depth, 'channels': net.channels,
          'mix': net.mix, 'border': net.border, 'jitter': method['jitter'],
          **{name: net.at_levels(name) for name in (
              'down', 'up', 'skip', 'down_size', 'up_size', 'upsample',
              'downsample')}}


# By method.name: DmitryUlyanov/deep-image-prior, SeungjunNah/DeepDeblur-PyTorch
# and KupynOrest/DeblurGAN at 39e8a4b (its later commits have half of it).
OFFICIAL = {
    'deep_prior': Official('torch_prior.py', 'models/skip.py', _prior),
    'supervised': Official(
        'torch_multiscale.py', 'src/model/MSResNet.py', _multiscale),
    'adversarial': Official(
        'torch_deblurgan.py', 'models/networks.py', _deblurgan),
}
