"""The benchmark: its numbers hang together, its mistakes are one line."""

import json
import subprocess
import sys

import helpers
import jax
import pytest
import run_folders
import sample_pictures
from helpers import ROOT, tiny

from deblur_jax import errors, models
from deblur_jax.training import workdir
from experiments.benchmark import (
  data,
  devices,
  network,
  peers,
  prior,
  runs,
  timing,
)


@pytest.fixture(scope='module')
def result():
  return network.measure(
      tiny(), ['train', 'restore'], (24, 32), repeats=3, onnx=True)


def test_is_json_and_counts(result):
  assert json.loads(json.dumps(result))['devices'] == 2
  assert result['restore']['shape'] == (2, 24, 32, 3)
  assert result['train']['shape'] == (4, 16, 16, 3)
  assert result['peak_memory_bytes'] > 1e7


def test_network_by_hand(result):
  """Two scales of two convolutions; 4 channels; one upconv."""
  fine, coarse = 25 * (6 * 4 + 4 * 3), 25 * (3 * 4 + 4 * 3)
  up = 25 * 3 * 12
  assert result['parameters'] == fine + coarse + up + 2 * (4 + 3) + 12
  forward = 2 * (fine + (coarse + up) / 4)   # FLOP of a pixel of the result
  assert result['restore']['flop_formula'] == forward * 2 * 24 * 32
  # Both gradients of a convolution cost as much as it, and a little more where
  # the borders are padded; nobody asks for that to the image.
  train = result['train']['flop_formula'] / (forward * 4 * 16 * 16)
  assert 2.5 < train < 4


@pytest.mark.parametrize('name', network.PROGRAMS)
def test_numbers_hang_together(result, name):
  part = result[name]
  seconds = part['seconds']
  assert 0 < seconds['p10'] <= seconds['median'] <= seconds['p90']
  assert part['images_per_second'] == pytest.approx(
      part['shape'][0] / seconds['median'])
  assert part['tflop_per_second'] == pytest.approx(
      part['flop_formula'] / seconds['median'] / 1e12)
  assert part['compile_seconds'] > 0 and part['temporary_bytes'] > 0
  # Unknown for a CPU, and no cuDNN there.
  assert part['share_of_peak'] is None and part['cudnn_fused'] is None
  assert 'peer_ratio' not in part


def test_losses_on_one_and_two_devices_differ_by_rounding():
  config = tiny(batch_size=4, **{'nets.net': dict(
      name='single_scale', blocks=0, features=2, dtype='float32')})
  single, half = devices.compare(config, [1, 2], steps=2)
  assert (single['dtype'], half['dtype']) == ('float32', 'bfloat16')
  assert single['largest'] < 1e-5 and half['largest'] < 1e-2
  with pytest.raises(errors.UserError, match='has 3, and there are 2'):
    devices.losses(config, 3)
  with pytest.raises(errors.UserError, match='Give a --config.batch_size'):
    devices.compare(tiny(), [1, 2], steps=1)


def test_beside_onnx_runtime(result):
  part = result['restore']
  assert part['onnx_seconds']['median'] > 0
  assert part['onnx_ratio'] == pytest.approx(
      part['seconds']['median'] / part['onnx_seconds']['median'])
  assert 'onnx_ratio' not in result['train']


def test_a_prior_is_timed_too():
  config = helpers.changed('prior_denoise', **{
      'nets.net': dict(name='deep_decoder', features=4, levels=1)})
  result = prior.measure(config, (16, 24), images=2, repeats=2)
  part = result['fit']
  assert part['shape'] == (2, 16, 24, 3) and result['parameters'] == (
      models.count_parameters(jax.eval_shape(
          lambda key: models.init(models.build(**config['nets']['net']), key),
          jax.random.key(0))))
  assert part['tflop_per_second'] == pytest.approx(
      part['flop_formula'] / part['seconds']['median'] / 1e12)


def test_loaders_take_turns(tmp_path):
  options = dict(name='gopro', root=str(sample_pictures.gopro(tmp_path)),
                 subset='blur')
  source = data.stored(options, 'prepared', tmp_path / 'prepared')
  result = json.loads(json.dumps(data.compare(
      source, crop=16, batch_size=2, count=2, repeats=1)))
  rates = result['pairs_per_second']
  assert rates.keys() == {'tf_data', 'threads', 'numpy_function'}
  assert result['ratio'].keys() == rates.keys() - {'tf_data'}
  for name, (least, most) in result['spread'].items():
    assert 0 < least <= rates[name] <= most and result['cpu_ms'][name] > 0
  with pytest.raises(errors.UserError, match='is for --source=gopro only'):
    data.stored(dict(name='builtin'), 'tfds', tmp_path)


def test_runs_side_by_side(tmp_path):
  folders = [tmp_path / name for name in ('wide', 'thin')]
  for folder, features in zip(folders, (4, 2), strict=True):
    run_folders.untrained(folder, tiny(nets=dict(
        net=dict(name='single_scale', blocks=0, features=features))))
  score = lambda folder, psnr: workdir.write_json(folder / 'eval.json', {
      'mean': {'psnr_uint8': 30.0}, 'input': {'psnr_uint8': psnr}})
  score(folders[1], 25.0)
  wide, thin = runs.compare(folders, (24, 32), repeats=2)
  assert [row['run'] for row in (wide, thin)] == ['wide', 'thin']
  assert [row['psnr_uint8'] for row in (wide, thin)] == [None, 30]
  assert [row['input_psnr_uint8'] for row in (wide, thin)] == [None, 25]
  assert wide['parameters'] == 4 * 2 * 25 * 3 + 4 + 3
  assert wide['gmacs_256'] == pytest.approx(4 * 2 * 25 * 3 * 256**2 / 1e9)
  assert wide['gmacs_256'] == 2 * thin['gmacs_256']
  assert wide['ratio'] == 1 and thin['ratio'] > 0 and thin['ms'] > 0
  with pytest.raises(errors.UserError, match='No config.json in'):
    runs.compare([tmp_path], (24, 32), repeats=1)
  score(folders[0], 24.0)
  with pytest.raises(errors.UserError, match='wide 24.000, .*thin 25.000 dB'):
    runs.compare(folders, (24, 32), repeats=1)


def test_peaks():
  assert timing.peak_tflops('NVIDIA H200', 'bfloat16') == 989.4
  assert timing.peak_tflops('NVIDIA A100-SXM4-40GB', 'float32') == 156.0
  assert timing.peak_tflops('NVIDIA H100 PCIe', 'bfloat16') is None


def test_sizes():
  assert timing.parse_size('720x1280') == (720, 1280)
  for text in ('720', '0x8', '8x8x8', 'axb'):
    with pytest.raises(errors.UserError, match=f"720x1280, got '{text}'"):
      timing.parse_size(text)


def test_numbers_of_devices():
  assert devices.numbers(['1', '8']) == [1, 8]
  for words in (['a', '8'], ['0', '1'], ['1', '-8'], ['1'], []):
    with pytest.raises(errors.UserError, match='must be numbers such as 1,8'):
      devices.numbers(words)
  with pytest.raises(errors.UserError, match='experiments.prior'):
    devices.compare(helpers.get_config('prior_denoise').to_dict(), [1, 2],
                    steps=1)


def test_unknown_program():
  with pytest.raises(errors.UserError, match="'trian'.*Did you mean 'train'"):
    network.measure(tiny(), ['trian'], (8, 8), repeats=1)


def test_peer_needs_a_checkout():
  with pytest.raises(errors.UserError, match='has no src/model/MSResNet.py'):
    peers.start(tiny(), (8, 8), 'nowhere', 'python', what=['restore'],
                channels_last=False)


def test_peer_that_does_not_run(tmp_path):
  peer = peers.Peer(
      'multiscale.py', str(tmp_path), sys.executable, {})
  with pytest.raises(errors.UserError, match='has --peer_python torch'):
    peer.run('train')


def test_peer_python_that_is_not_there(tmp_path):
  with pytest.raises(errors.UserError, match='--peer_python=nowhere: No such'):
    peers.Peer('multiscale.py', str(tmp_path), 'nowhere', {})


def test_program_prints_one_line_about_a_mistake():
  ended = subprocess.run(
      [sys.executable, '-m', 'experiments.benchmark', 'network', '--size=720',
       '--config=configs/quickstart.py'],
      cwd=ROOT, capture_output=True, text=True, timeout=300)
  assert ended.returncode == 2 and ended.stdout == ''
  assert ended.stderr.strip() == (
      "error: --size must be like 720x1280, got '720'.")
