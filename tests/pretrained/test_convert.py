"""Conversion of weights of the papers' programs, in both directions."""

import base64
import hashlib
import io
import math
import os
import pickle
import re
import subprocess
import sys
import zipfile
import zlib

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from deblur_jax import errors, methods, models
from deblur_jax.evaluation import test_sets
from deblur_jax.ops import array_files, weight_files
from deblur_jax.pretrained import convert
from deblur_jax.pretrained.convert import state_dicts
from deblur_jax.training import parallel, workdir
from tests import helpers

LAYOUTS = convert.LAYOUTS
NOSKIP = 'hieubkset_single_noskip'


# Of the kernels of deep networks, so that each layer changes the image.
BOUNDS = {'nafnet': 0.5, 'restormer': 0.25}


def _formula(name, shape, unit, bound):
  """Values that two programs can compute without a shared file."""
  phase = zlib.crc32(name.encode()) % 1000
  values = np.cos(np.arange(np.prod(shape, dtype=int)) * 0.7 + phase)
  if re.search(r'norm.*weight|beta|gamma|temperature', name):
    values = 1 + 0.5 * values
  else:
    values = (bound if len(shape) == 4 else 0.05 * unit) * values
  return values.reshape(shape).astype(np.float32)


def _image(height=16, width=24):
  values = np.sin(np.arange(height * width * 3) * 0.1) / 2 + 0.5
  return values.reshape(1, height, width, 3).astype(np.float32)


def _arrays(layout, network):
  """Our network, its pairs, and a state dict of theirs by the formula."""
  net = models.build(**network)
  pairs = state_dicts.pairs(LAYOUTS[layout], net)
  # Biases have an effect also where white is 255.
  unit = network.get('value_range', 1)
  return net, pairs, {
      pair.theirs: _formula(
          pair.theirs, pair.shape, unit, BOUNDS.get(layout, 0.15))
      for pair in pairs}


def _multiscale(scales, blocks):
  return dict(name='multiscale', scales=scales, blocks=blocks, features=4,
              kernel_size=5, value_range=255)


def _single(skip):
  return dict(name='single_scale', blocks=2, features=4, kernel_size=3,
              end_kernel_size=5, skip=skip)


def _resnet(kept):
  return dict(name='resnet', features=4, blocks=2,
              dropout=0.5 if kept else 0.0, residual=kept)


# Mean, first and last value of each output of the programs themselves (their
# modules of the commits 26047f7, 39e8a4b, 42863a0, 2b4af71 and df766d5 under
# torch 2.13 without dropout), with the weights of the formula, for this image
# and its pyramid. The last two are NAFNetLocal and TLC's RestormerLocal, for
# crops of 16 pixels.
GOLDEN = {
    'K=1': ('deepdeblur_pytorch', _multiscale(1, 2), {}, _image(), [
        (0.5691024661064148, 3.946075916290283, -3.431410074234009)]),
    'K=2': ('deepdeblur_pytorch', _multiscale(2, 1), {}, _image(), [
        (0.4892007112503052, -0.5749009251594543, -0.558134913444519),
        (0.5223042964935303, 0.0021747665014117956, -0.06843279302120209)]),
    'K=3': ('deepdeblur_pytorch', _multiscale(3, 1), {}, _image(), [
        (0.48015594482421875, 0.26444464921951294, 1.878138542175293),
        (0.5633904337882996, 1.0300700664520264, 1.3975296020507812),
        (0.5235493183135986, 0.20793914794921875, 0.1596653312444687)]),
    'nah discriminator': (
        'deepdeblur_pytorch_discriminator',
        dict(name='nah_discriminator', variant='code', features=2, scale=255),
        {}, _image(200, 200), [(-0.004113008268177509,) * 3]),
    'deblurgan': ('deblurgan', _resnet(True), {}, _image(), [
        (0.5272151827812195, 0.49861910939216614, 1.0)]),
    'deblurgan without dropout and skip': (
        'deblurgan', _resnet(False), dict(learn_residual=False), _image(), [
            (0.5268964767456055, 0.5378352403640747, 0.5137991309165955)]),
    'patchgan': (
        'deblurgan_discriminator', dict(name='patchgan', features=4, depth=3),
        {},
        np.tile(_image(), (1, 5, 3, 1)), [
            (0.04116976633667946, 0.19538916647434235, 0.13771048188209534)]),
    'single': (NOSKIP, _single(False), {}, _image(), [
        (-0.007004630286246538, 0.02405245415866375, 0.06557232141494751)]),
    'single with skip': (
        'hieubkset_single_skip', _single(True), {}, _image(), [
            (0.005441915709525347, 0.03817382827401161, 0.2139553427696228)]),
    'nafnet': ('nafnet', dict(
        name='nafnet', features=4, blocks=(1,), middle=1, up_blocks=(0,),
        local=24), dict(local=24), _image(40, 56), [
            (0.38391709327697754, -8.78764533996582, 9.93082332611084)]),
    'restormer': ('restormer', dict(
        name='restormer', features=4, blocks=(1, 0, 0, 1), refinement=0,
        heads=1, expansion=2.66, local=24), dict(local=24), _image(16, 40), [
            (0.5232803225517273, -1.8534338474273682, 2.467355251312256)]),
}


def test_every_layout_has_a_golden_value():
  assert {row[0] for row in GOLDEN.values()} == set(LAYOUTS)


@pytest.mark.parametrize('name', GOLDEN)
def test_golden_and_back(name):
  layout, network, options, image, expected = GOLDEN[name]
  net, pairs, arrays = _arrays(layout, network)
  part, = state_dicts.find(
      {f'module.{name}': array for name, array in arrays.items()}, options,
      layout=layout)
  assert part.network == network and part.prefix == 'module.'
  params = state_dicts.to_ours(part, pairs)
  outputs = jax.jit(net.apply)({'params': params}, image)
  outputs = outputs if isinstance(outputs, list) else [outputs]
  for output, (mean, first, last) in zip(outputs, expected, strict=True):
    values = output.mean(), output[0, 0, 0, 0], output[0, -1, -1, -1]
    np.testing.assert_allclose(
        values, (mean, first, last), rtol=2e-4, atol=2e-6)
  back = state_dicts.to_theirs(params, pairs)
  assert back.keys() == arrays.keys()
  for key, array in back.items():
    np.testing.assert_array_equal(array, arrays[key])


# SHA-256 of the sorted lines 'NAME (SHAPE)' of the programs' own state dicts,
# and their numbers of parameters: NAFNet-64 and Restormer as published.
STATE_DICTS = [
    ('nafnet', dict(features=64), 67_888_835,
     '547c6406ec26bd63ca6c3b0229af0aa8097ed92fa98250592d8513222da6eaf1'),
    ('restormer', dict(features=48, blocks=(4, 6, 6, 8), refinement=4),
     26_126_644,
     'cc31086504afbc6c9473461a2b3779f866cb55bd72029a6619ef85f6612ea44a'),
]


@pytest.mark.parametrize('name, options, count, digest', STATE_DICTS)
def test_names_and_shapes_of_the_papers_networks(name, options, count, digest):
  net = models.build(name=name, **options)
  pairs = state_dicts.pairs(LAYOUTS[name], net)
  assert sum(math.prod(pair.shape) for pair in pairs) == count
  lines = sorted(f'{pair.theirs} {pair.shape}' for pair in pairs)
  assert hashlib.sha256('\n'.join(lines).encode()).hexdigest() == digest
  found = LAYOUTS[name].options({pair.theirs: pair.shape for pair in pairs})
  assert found.items() >= options.items()


# A file of PyTorch: a DeepDeblur with K = 1, one block, two channels and
# kernels of 1: {'G': weights, the first in float64, 'epoch': 7, 'optimizer':
# ...}. Each array is arange / 8 + its index.
PTH = (
    'eNqllk1sG0UYhsd24jhuSJzSNj8NoQ2QbiFx1l7/pX8OTtgUFmjqtmAqVWZjL/EKJ+vPO07T'
    'iEhBJRKVOMAJTsABCU6AxAFxQa2oBAcOKUKoEkVU0AOIA+KAxJGZXcfdGcdxm6w0mXW87/c+'
    'n7X7fjujeFoQ8vlQ3RFAu5FazhX0RW0sr2I1WHq1KKc60XnmWHWvABIyLiKYBtcKuIXMfnI+'
    'a+QvZeeNvFY0g2KQfiLbRU2fK2Dw5LBB6gazFawXTX+2rM1W9GI+i7UF0yhnF8N+aBGETBsp'
    'Y5Ir1TkNWm2Jf8qozBa1M/Z//eC1fEVoy3jInitVwKd4MbSfVpCguBWP4lJcGPyCfUbPd13J'
    '5YxiUcth3Vgw/afKea2s5af0HPZDx+E0PIChMw1dmb5GPczqqgmBAgEsbEDJRUPFNaZuiykE'
    'uws+xY3hQcKiuNdgj+Jag71XCtRkH4aeNPRmhjY3CXG/V5/tVrArh6GfVG7BsL/apdvubECw'
    'z+j5Q7bPIIaH03Agc6CJj9XTQcZFgiGb/5Eq/6OU/zG77jCGQ2kQmvCHN/gPM5Uj8LjN/wTL'
    'P+LgH7V9ghjG0iA24Q/b/CHGJQphm1+q8kcof9SuG8MQT0Oi0Y1aAx9nSsbgSMG6vY5a4J4N'
    '8GMO8OO2wQkMyTRMNLqLqsRPMuXjkCLlPRgmKbFnDaYo8VN2QRnDdBpOVjKt5EqtZOQK8LTS'
    'lmknn4wS1uf1Za0Mz6yAIlhXmFjFGjy7As8paAWetx4lbamUVRfn4BTjmoAZ4krIT1NXYpim'
    'f87YrmcxnEvDC6aZ6SCXltSyOp+dKxuVkgkvXoDMCryUcZMvimU4P53sj/3218DkqKlWKsEZ'
    'pc13QXr3570kWuiaaRgyPWi4FjLBV4zyvIqzi1rZJE+nnBrismazI0S9vvz71mXaDV2NvfpR'
    '/K5XNVmyalGfW5jXFrCcku7Bru6IRShA8iL8SX8K95YA3ShZA5i9hDWDpo+cOrod342jqGNc'
    '1CjD2vHf+7zExbslQyc6waT6mCinjuwAgK1+NWnv69X9ZnW/Xd3vJCnp8NK6KtLgbkK6hyUN'
    'yakAqvdfJbXftupem7z+AS3ka1L3GFs3LKcSaAf9TxAfsgJk9U5Qjn3970gBa4JuzRFhOSQ5'
    'JaL7958gvict3xvt/762jf4jO+t/lfi/QdabZL1lcSjffvPJNvqPbq//D4nvR5bvF58uv7eN'
    '/mM76/8q8b9O1ndkfU/WOlk/Wjyvf33tq17i2NuEZ4TlicspAd27/23id4esPyzPz//572Oa'
    '1h1NPBOsZ0JORdB2n3/qO/Dr1EFihlq29O1yJGAt5neUf5LfuvPfnzvXPH8HUfjuALDaNrWy'
    'TibAskpfB7N6Xk4F7xNGDI3H44mYKEUlKTYeFkORiCRGpHBMHI9FRDEqReMhaXxcpJS/XC4Z'
    'AuEQLEoXha1xOsdloI6cfw/n1c4B2MMotRbUaMDyRZxDrJ8pcsNZpG5y8nWcg6ibqZNuRfUD'
    'kJc7p0MnI/+pFXGzi9c6JwCrXfVy2hCvdaY2q73Ja8O81pm8rPblNk4r8VpnWnK+vDbCa52J'
    'x/n6OG2U1zrTifPltTFe60wZVlto57RxXutMClZ7i9cm6n5nx3PexWjP+hGfLLzY+fgNMuIf'
    'HOLNg2FG8XpHNmLEM+oINHb/zGPvS7vsnejoyzc6VL3AfkNt9dqaLut6+9r/AflPfcE=')


@pytest.fixture
def pth(tmp_path):
  path = tmp_path / 'model-1000.pt'
  path.write_bytes(zlib.decompress(base64.b64decode(PTH)))
  return path


def _config(**overrides):
  return helpers.tiny(**overrides)


def _save(path, arrays):
  path.write_bytes(safetensors_numpy.save(arrays))
  return path


def _deepdeblur(**options):
  network = _multiscale(1, 1) | dict(kernel_size=1, features=2) | options
  return _arrays('deepdeblur_pytorch', network)[2]


def test_a_file_of_pytorch_becomes_a_run_that_trains(pth, tmp_path):
  """Converted, written back, and trained one step further."""
  folder = tmp_path / 'runs' / 'theirs'
  config = _config(**{'method.ema': 0.5})
  entry, = convert.to_run(config, folder, [pth])
  assert entry.prefix == 'G.' and entry.theirs == dict(
      n_scales=1, n_resblocks=1, n_feats=2, kernel_size=1, rgb_range=255)
  assert set(entry.skipped) == {
      'epoch', 'optimizer.state.0.exp_avg', 'optimizer.param_groups'}
  assert workdir.read_json(folder / 'convert.json') == [entry._asdict()]
  text = '\n'.join(convert.describe(entry))
  assert entry.sha256 in text and 'scale_0: 8 arrays, 29 values' in text
  assert 'skipped epoch: no tensor: int' in text
  assert '1 array is float64 in the file, float32 in the run' in text
  assert not list(folder.parent.glob('.*'))

  config = workdir.read_config(folder)
  method = methods.build(config)
  state = test_sets.load(config, method, folder)
  assert int(state.step) == 0
  for params in (state.params['net'], state.ema['net']):
    np.testing.assert_array_equal(
        params['scale_0']['block_00']['conv_1']['kernel'][0, 0],
        [[4, 4.25], [4.125, 4.375]])
  again = tmp_path / 'again.safetensors'
  convert.from_run(config, folder, again)
  theirs = weight_files.read(pth, what='it')
  ours = weight_files.read(again, what='it')
  assert len(ours) == 8
  for name, array in ours.items():
    np.testing.assert_array_equal(array, theirs[f'G.{name}'])

  workdir.check_config(folder, config)
  batch = parallel.put(
      {'blur': _image(16, 16), 'sharp': _image(16, 16)},
      parallel.replicated(parallel.data_mesh()))
  state, _ = jax.jit(method.step)(state, batch, jax.random.key(0))
  assert int(state.step) == 1
  averaged = state.ema['net']['scale_0']['tail']['bias']
  np.testing.assert_allclose(averaged, np.arange(3) / 8 + 7, atol=1e-3)
  assert np.any(averaged != np.arange(3, dtype=np.float32) / 8 + 7)


# The subset of GoPro on which the authors trained.
SUBSETS = {
    'deepdeblur_pytorch': 'blur_gamma',
    'deepdeblur_pytorch_discriminator': 'blur_gamma', 'deblurgan': 'blur',
    'deblurgan_discriminator': 'blur', NOSKIP: 'blur',
    'hieubkset_single_skip': 'blur', 'nafnet': 'blur', 'restormer': 'blur',
    'maxim': 'blur'}


@pytest.mark.parametrize('layout', [*LAYOUTS, 'maxim'])
def test_a_run_tests_on_the_subset_of_its_weights(layout):
  config = helpers.get_config('multiscale_gopro', None).to_dict()
  for before in ('blur', 'blur_gamma'):
    for part in ('train', 'test'):
      config['data'][part]['subset'] = before
    found = convert.on_their_subset(config, layout)['data']
    assert config['data']['test']['subset'] == before
    assert found['train']['subset'] == found['test']['subset'] == (
        SUBSETS[layout])
  other = _config()
  assert convert.on_their_subset(other, layout) == other    # is not GoPro


def test_the_program(tmp_path):
  network = dict(name='nafnet', **models.NETWORKS['nafnet'].small)
  path = _save(tmp_path / 'theirs.safetensors', _arrays('nafnet', network)[2])
  folder = tmp_path / 'run'
  done = subprocess.run(
      [sys.executable, '-m', 'experiments.convert_weights', f'--weights={path}',
       f'--workdir={folder}', '--root=here', '--option=local=48'],
      cwd=helpers.ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert 'is nafnet' in done.stdout
  assert "trained on GoPro's subset blur\n" in done.stdout
  config = workdir.read_config(folder)
  assert config['nets']['net']['local'] == 48
  for source in (config['data']['train'], config['data']['test']):
    assert source['root'] == 'here' and source['subset'] == 'blur'


def test_a_discriminator_needs_a_config_that_has_one(tmp_path):
  network = dict(name='patchgan', features=2, depth=1)
  _, _, arrays = _arrays('deblurgan_discriminator', network)
  path = _save(tmp_path / 'D.safetensors', arrays)
  with pytest.raises(errors.UserError, match=(
      r'D.safetensors: it is deblurgan_discriminator, but the config has no '
      r'discriminator: choose another --config')):
    convert.to_run(_config(), tmp_path / 'run', [path])


def test_generator_and_discriminator_of_one_file(tmp_path):
  """If the config has no discriminator, that of the file is skipped."""
  discriminator = dict(name='nah_discriminator', features=1)
  _, _, arrays = _arrays('deepdeblur_pytorch_discriminator', discriminator)
  both = {f'G.{name}': array for name, array in _deepdeblur().items()}
  both |= {f'D.{name}': array for name, array in arrays.items()}
  entry, = convert.to_run(
      _config(), tmp_path / 'run', [_save(tmp_path / 'x.safetensors', both)])
  assert entry.layout == 'deepdeblur_pytorch' and len(entry.names) == 8
  assert entry.skipped['D.dense.weight'] == (
      'deepdeblur_pytorch_discriminator, but the config has no discriminator')
  assert len(entry.skipped) == len(arrays) == 11


def test_a_run_needs_a_generator(tmp_path):
  _, _, arrays = _arrays(
      'deblurgan_discriminator', dict(name='patchgan', features=2, depth=1))
  path = _save(tmp_path / 'D.safetensors', arrays)
  config = helpers.get_config('deblurgan_gopro').to_dict()
  with pytest.raises(errors.UserError, match='no generator in .*D.safetensors'):
    convert.to_run(config, tmp_path / 'run', [path])
  assert not (tmp_path / 'run').exists()


def test_both_networks_of_deblurgan_are_converted(tmp_path):
  """The generator of an adversarial config is nets.generator."""
  files = {'deblurgan': dict(name='resnet', features=4, blocks=1),
           'deblurgan_discriminator': dict(name='patchgan', features=4,
                                           depth=1)}
  paths = [_save(tmp_path / f'{layout}.safetensors',
                 _arrays(layout, network)[2])
           for layout, network in files.items()]
  config = helpers.get_config('deblurgan_gopro').to_dict()
  folder = tmp_path / 'run'
  generator, discriminator = convert.to_run(config, folder, paths)
  assert (generator.role, discriminator.role) == ('generator', 'discriminator')
  config = workdir.read_config(folder)
  again = tmp_path / 'again.safetensors'
  for layout, path in zip((None, 'deblurgan_discriminator'), paths,
                          strict=True):
    convert.from_run(config, folder, again, layout=layout)
    theirs, ours = (
        weight_files.read(file, what='it') for file in (path, again))
    assert theirs.keys() == ours.keys()
    for name, array in ours.items():
      np.testing.assert_array_equal(array, theirs[name])
    again.unlink()


class _Malicious:

  def __reduce__(self):
    return os.system, ('echo this must not run',)


def test_code_in_a_file_is_refused(tmp_path, capfd):
  path = tmp_path / 'bad.pth'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('bad/data.pkl', pickle.dumps({'a': _Malicious()}))
  with pytest.raises(errors.UserError, match=(
      r'bad.pth \((posix|nt).system is not a plain tensor: .*is read')):
    convert.to_run(_config(), tmp_path / 'run', [path])
  assert 'must not run' not in capfd.readouterr().out
  assert not (tmp_path / 'run').exists()


def test_objects_in_an_npz_are_refused(tmp_path, capfd):
  path = tmp_path / 'bad.npz'
  np.savez(path, a=np.array([_Malicious()], object))
  with pytest.raises(errors.UserError, match=r'bad.npz') as error:
    weight_files.read(path, what='it')
  assert '\n' not in str(error.value) and 'pickle' in str(error.value)
  assert 'must not run' not in capfd.readouterr().out


def test_a_tensor_larger_than_its_storage_is_refused(pth, tmp_path):
  """Without this check the file could read other memory."""
  path = tmp_path / 'short.pt'
  with zipfile.ZipFile(pth) as old, zipfile.ZipFile(path, 'w') as new:
    for name in old.namelist():
      content = old.read(name)
      new.writestr(name, content[:8] if name.endswith('/data/2') else content)
  with pytest.raises(errors.UserError, match='longer than its storage'):
    weight_files.read(path, what='it')


@pytest.mark.parametrize('suffix', ['.pt', '.safetensors', '.npz'])
def test_a_truncated_file(suffix, pth, tmp_path):
  path = tmp_path / f'cut{suffix}'
  if suffix == '.pt':
    path.write_bytes(pth.read_bytes())
  elif suffix == '.npz':
    np.savez(path, **_deepdeblur())
  else:
    _save(path, _deepdeblur())
  assert len(weight_files.read(path, what='it')) >= 8
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(errors.UserError, match=f'Cannot read .*cut{suffix}'):
    convert.to_run(_config(), tmp_path / 'run', [path])
  with pytest.raises(errors.UserError, match='No file .*none.npz'):
    weight_files.read(tmp_path / 'none.npz', what='it')


def _dicts_within_dicts(levels):
  inner = {}
  for _ in range(levels):
    inner = {'a': inner, 'b': inner}
  return inner


@pytest.mark.parametrize('content, message', [
    # LONG_BINPUT of the largest number.
    (b'\x80\x02}r\xff\xff\xff\x0f.', 'remembers 268,435,455 objects'),
    (pickle.dumps(_dicts_within_dicts(40), 2), 'more than 100,000 names'),
])
def test_a_small_pickle_takes_little_memory(content, message, tmp_path):
  path = tmp_path / 'bomb.pth'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('bomb/data.pkl', content)
  with pytest.raises(errors.UserError, match=message):
    weight_files.read(path, what='it')


def test_an_npz_takes_no_more_memory_than_its_size_allows(
    tmp_path, monkeypatch):
  monkeypatch.setattr(array_files, 'ROOM', 1000)
  path = tmp_path / 'bomb.npz'
  np.savez_compressed(path, a=np.zeros(10**6, np.float32))
  with pytest.raises(errors.UserError, match='unpacks to 4,000,128 bytes'):
    weight_files.read(path, what='it')
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
      header, {'descr': '<f4', 'fortran_order': False, 'shape': (10**12,)})
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('a.npy', header.getvalue() + bytes(8))
  with pytest.raises(errors.UserError, match=(
      r'a declares the shape \(1000000000000,\), and has 136 bytes')):
    weight_files.read(path, what='it')


def _broken(kind):
  arrays = _deepdeblur(scales=2)
  if kind == 'missing':
    del arrays['conv_end_models.1.uppath.0.bias']
  if kind == 'unknown':
    arrays['body_models.0.body.2.extra'] = np.ones(3)
  if kind == 'shape':
    arrays['body_models.1.body.2.bias'] = np.ones(4)
  if kind == 'finite':
    arrays['body_models.1.body.2.bias'][0] = np.inf
  if kind == 'head':
    del arrays['body_models.0.body.0.weight']
  return arrays


def _names(*names):
  return {name: np.ones((2, 3, 3, 3), np.float32) for name in names}


@pytest.mark.parametrize('arrays, options, message', [
    (_broken('missing'), {},
     r'similar to deepdeblur_pytorch \(.*\), but differs: missing: '
     r'conv_end_models.1.uppath.0.bias\.'),
    (_broken('unknown'), {}, r'unknown: body_models.0.body.2.extra\.'),
    (_broken('shape'), {}, r'body_models.1.body.2.bias \(4,\) instead of \(3'),
    (_broken('finite'), {}, 'not finite in body_models.1.body.2.bias'),
    (_broken('head'), {}, 'body_models.0.body.0.weight is missing or no conv'),
    (_deepdeblur(), dict(layout='deepdeblur'),
     "Unknown layout 'deepdeblur'; .* Did you mean 'deepdeblur_pytorch'"),
    (_deepdeblur(), dict(layout='deblurgan'),
     r"of deblurgan, such as model.10.*Did you mean 'deepdeblur_pytorch'\?"),
    (_arrays(NOSKIP, _single(False))[2], {},
     f'fit {NOSKIP} and hieubkset_single_skip equally: choose one by --layout'),
    ({f'{prefix}.{name}': array for prefix in ('G', 'E')
      for name, array in _deepdeblur().items()}, {},
     r'holds deepdeblur_pytorch more than once, as E\.\* and G\.\*'),
    (_names('a.b', 'c'), {}, r'names \(a.b, c\) fit no layout; known: deepd'),
    (_names('fpn.enc.weight'), {}, 'it is of DeblurGAN-v2'),
    (_names('model.model.0.model.1.weight'), {}, "it is of DeblurGAN's U-Net"),
    (_names('model.1.weight', 'model.10.conv_block.1.weight'), {},
     'blocks lack their second convolution'),
    (_deepdeblur(), dict(options={'rgb_rnge': 1}),
     "Unknown option rgb_rnge of deepdeblur_p.* Did you mean 'rgb_range'"),
    (_deepdeblur(), dict(options={'learn_residual': True}),
     'Unknown option learn_residual .*; known: rgb_range'),
    (_deepdeblur(), dict(options={'rgb_range': 'abc'}),
     "rgb_range must be a number above 0, got 'abc'"),
])
def test_files_that_do_not_fit(arrays, options, message, tmp_path):
  path = _save(tmp_path / 'x.safetensors', arrays)
  with pytest.raises(errors.UserError, match=message) as error:
    convert.to_run(_config(), tmp_path / 'run', [path], **options)
  assert '\n' not in str(error.value)
  assert [path] == list(tmp_path.iterdir())


def test_a_failure_leaves_no_folder(tmp_path, monkeypatch):
  path = _save(tmp_path / 'x.safetensors', _deepdeblur())
  real = workdir.write_json

  def full(path, content):
    if path.name == 'convert.json':
      raise OSError(28, 'No space left on device')
    real(path, content)

  monkeypatch.setattr(workdir, 'write_json', full)
  with pytest.raises(errors.UserError, match='Cannot write .*run: No space'):
    convert.to_run(_config(), tmp_path / 'run', [path])
  assert [path] == list(tmp_path.iterdir())


def test_an_existing_folder_is_refused(tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'x').touch()
  with pytest.raises(errors.UserError, match='run exists already'):
    convert.to_run(_config(), tmp_path / 'run', ['none.pt'])


@pytest.mark.parametrize('network, options, message', [
    ({'residual': True}, {}, 'DeepDeblur-PyTorch has no residual=True'),
    ({}, dict(layout='deblurgan'),
     'deblurgan is a resnet, but the generator of the run is multiscale'),
    ({'name': 'unet'}, {}, 'No layout has the generator unet'),
    ({'name': 'nafnet', 'expansion': 1.0}, {}, 'NAFNet has no expansion=1.0'),
    ({'name': 'restormer', 'blocks': (1, 1)}, {}, 'Restormer has no 2 levels'),
])
def test_runs_that_cannot_be_written(network, options, message, tmp_path):
  config = _config(**{f'nets.net.{key}': value
                      for key, value in network.items()})
  if 'name' in network:
    config['nets']['net'] = dict(network)
  with pytest.raises(errors.UserError, match=message):
    convert.from_run(
        config, tmp_path, tmp_path / 'x.safetensors', **options)


def test_existing_files_are_not_replaced(tmp_path):
  with pytest.raises(errors.UserError, match='x.pth must end in .safetensors'):
    convert.from_run(_config(), tmp_path, tmp_path / 'x.pth')
  (tmp_path / 'x.npz').touch()
  with pytest.raises(errors.UserError, match='x.npz exists already'):
    convert.from_run(_config(), tmp_path, tmp_path / 'x.npz')


def test_a_trained_network(real_data, tmp_path):
  """The output of the authors' program, to one grey level."""
  weights = real_data / 'weights'
  folder = tmp_path / 'run'
  convert.to_run(
      _config(), folder, [weights / f'{NOSKIP}_gopro.npz'], layout=NOSKIP)
  config = workdir.read_config(folder)
  method = methods.build(config)
  state = test_sets.load(config, method, folder)
  assert models.count_parameters(state.params) == 674_371
  with np.load(weights / f'{NOSKIP}_fixture96.npz') as fixture:
    blur, expected = fixture['input_u8'], fixture['output_f32']
  blur = parallel.put(blur[None] / np.float32(255), parallel.replicated(
      parallel.data_mesh()))
  restored = np.asarray(jax.jit(method.restore)(state, blur)[0])
  assert np.abs(restored - expected).max() < 1e-4
  grey = lambda image: np.rint(255 * np.clip(image, 0, 1))
  assert np.abs(grey(restored) - grey(expected)).max() <= 1
