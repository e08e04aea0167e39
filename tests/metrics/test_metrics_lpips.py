"""LPIPS with made-up backbones, against float64 NumPy."""

import base64
import functools
import pickle
import zipfile
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage
from scipy import ndimage

from deblur_jax import errors
from deblur_jax.metrics import lpips
from deblur_jax.ops import weight_files

# (name, in, out, side, stride, padding), 'tap', or a pool's side.
LAYERS = {
    'alex': [(0, 3, 64, 11, 4, 2), 'tap', 3, (3, 64, 192, 5, 1, 2), 'tap', 3,
             (6, 192, 384, 3, 1, 1), 'tap', (8, 384, 256, 3, 1, 1), 'tap',
             (10, 256, 256, 3, 1, 1), 'tap'],
    'vgg': [(0, 3, 64, 3, 1, 1), (2, 64, 64, 3, 1, 1), 'tap', 2,
            (5, 64, 128, 3, 1, 1), (7, 128, 128, 3, 1, 1), 'tap', 2,
            (10, 128, 256, 3, 1, 1), (12, 256, 256, 3, 1, 1),
            (14, 256, 256, 3, 1, 1), 'tap', 2,
            (17, 256, 512, 3, 1, 1), (19, 512, 512, 3, 1, 1),
            (21, 512, 512, 3, 1, 1), 'tap', 2,
            (24, 512, 512, 3, 1, 1), (26, 512, 512, 3, 1, 1),
            (28, 512, 512, 3, 1, 1), 'tap']}
TAPS = {'alex': (64, 192, 384, 256, 256), 'vgg': (64, 128, 256, 512, 512)}
BUILD = {'alex': lpips.build_alex, 'vgg': lpips.build_vgg}
# Of the weights too: as constants they take long to compile.
PROGRAMS = {net: jax.jit(functools.partial(lpips.lpips, net=net))
            for net in LAYERS}


def _backbone(net):
  random = np.random.default_rng(0)
  weights = {'classifier.1.weight': np.zeros((2, 2), np.float32)}
  for layer in LAYERS[net]:
    if isinstance(layer, tuple):
      index, c_in, c_out, side, _, _ = layer
      weights[f'features.{index}.weight'] = random.normal(
          0, (2 / (c_in * side * side)) ** 0.5, (c_out, c_in, side, side)
      ).astype(np.float32)
      weights[f'features.{index}.bias'] = random.normal(
          0, 0.1, c_out).astype(np.float32)
  return weights


def _linear(net):
  random = np.random.default_rng(1)
  return {f'lin{i}.model.1.weight': random.random((1, c, 1, 1)).astype(
      np.float32) for i, c in enumerate(TAPS[net])}


@pytest.fixture(scope='module', params=LAYERS)
def net(request):
  return request.param


@pytest.fixture(scope='module')
def files(net, tmp_path_factory):
  folder = tmp_path_factory.mktemp(net)
  np.savez(folder / 'backbone.npz', **_backbone(net))
  np.savez(folder / 'linear.npz', **_linear(net))
  return {'backbone': folder / 'backbone.npz', 'linear': folder / 'linear.npz'}


@pytest.fixture(scope='module')
def fn(net, files):
  built = BUILD[net](**files)
  return functools.partial(PROGRAMS[net], *built.args)


def _pictures():
  """Blurred and sharp, [2, 67, 70, 3] uint8."""
  sharp = np.stack([skimage.data.astronaut()[60:127, 90:160],
                    skimage.data.coffee()[60:127, 90:160]])
  return ndimage.uniform_filter(sharp, (0, 1, 7, 1)), sharp


def _float(pictures):
  return jnp.asarray(pictures / np.float32(255), jnp.float32)


def _convolve(x, kernel, bias, stride, padding):
  """[c, h, w], as PyTorch does."""
  x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
  windows = np.lib.stride_tricks.sliding_window_view(
      x, kernel.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
  return np.tensordot(
      kernel, windows, ([1, 2, 3], [0, 3, 4])) + bias[:, None, None]


def _reference(net, a, b):
  """Two uint8 [h, w, 3]."""
  backbone, linear = _backbone(net), _linear(net)
  maps = []
  for picture in (a, b):
    x = picture.transpose(2, 0, 1) / 127.5 - 1
    x = (x - np.array([-.030, -.088, -.188])[:, None, None]) / np.array(
        [.458, .448, .450])[:, None, None]
    taps = []
    for layer in LAYERS[net]:
      if layer == 'tap':
        taps.append(x / (np.sqrt((x ** 2).sum(axis=0)) + 1e-10))
      elif isinstance(layer, int):
        x = np.lib.stride_tricks.sliding_window_view(
            x, (layer, layer), axis=(1, 2))[:, ::2, ::2].max(axis=(3, 4))
      else:
        index, _, _, _, stride, padding = layer
        x = np.maximum(_convolve(
            x, np.float64(backbone[f'features.{index}.weight']),
            np.float64(backbone[f'features.{index}.bias']), stride, padding), 0)
    maps.append(taps)
  return sum(
      ((f - g) ** 2 * linear[f'lin{i}.model.1.weight'][0]).sum(axis=0).mean()
      for i, (f, g) in enumerate(zip(*maps, strict=True)))


def test_agrees_with_the_reference(net, fn):
  blur, sharp = _pictures()
  values = fn(_float(blur), _float(sharp))
  assert values.shape == (2,) and values.dtype == jnp.float32
  want = [_reference(net, *pair) for pair in zip(blur, sharp, strict=True)]
  np.testing.assert_allclose(values, want, rtol=2e-5)


def test_equal_and_symmetric(fn):
  blur, sharp = map(_float, _pictures())
  assert list(fn(sharp, sharp)) == [0, 0]
  np.testing.assert_allclose(fn(blur, sharp), fn(sharp, blur), rtol=1e-6)
  assert (fn(blur, sharp) > 0).all()


def test_a_nan_is_seen(fn):
  blur, sharp = map(_float, _pictures())
  values = fn(blur.at[0, 30, 30].set(jnp.nan), sharp)
  assert list(np.isnan(values)) == [True, False]


def test_the_published_linear_layers(net, real_data, files):
  path = real_data / 'weights' / 'lpips_lin_v0.1' / f'{net}.pth'
  params = lpips.load(net=net, backbone=files['backbone'], linear=path)
  assert [len(linear) for linear in params['linear']] == list(TAPS[net])
  assert all((linear >= 0).all() for linear in params['linear'])
  # As torch.load gives them.
  means = {'alex': 0.0913849, 'vgg': 0.0895758}
  assert abs(np.concatenate(params['linear']).mean() - means[net]) < 1e-6
  blur, sharp = map(_float, _pictures())
  assert (PROGRAMS[net](params, blur, sharp) > 0).all()


def test_missing_files(net, files, tmp_path):
  with pytest.raises(errors.UserError, match=(
      "No file .*none.pth: it should be torchvision's .*pytorch.org")):
    BUILD[net](backbone=tmp_path / 'none.pth', linear=files['linear'])
  with pytest.raises(errors.UserError, match=(
      f'No file .*none.pth: it should be {net}.pth .*PerceptualSimilarity')):
    BUILD[net](backbone=files['backbone'], linear=tmp_path / 'none.pth')


def test_files_of_wrong_names_and_shapes(files, tmp_path):
  with pytest.raises(errors.UserError, match='has no features.0.weight'):
    lpips.load(net='alex', backbone=files['linear'], linear=files['linear'])
  weights = _backbone('alex') | {'features.3.bias': np.zeros(3)}
  np.savez(tmp_path / 'wrong.npz', **weights)
  with pytest.raises(errors.UserError, match=(
      r'expected features.3.bias of shape \(192,\), got \(3,\)')):
    lpips.load(net='alex', backbone=tmp_path / 'wrong.npz',
               linear=files['linear'])
  with pytest.raises(errors.UserError, match="LPIPS network 'alx'.*alex"):
    lpips.load(net='alx', **files)


def test_refuses_small_images(net, fn):
  tiny = jnp.zeros((1, 12, 80, 3))
  with pytest.raises(errors.UserError, match=f'LPIPS with {net} needs images'):
    fn(tiny, tiny)


# What torch.save of PyTorch 2.13 wrote, in both of its forms, of
# {'a': arange(6.).reshape(2, 3).t()}, the older with a Parameter 'b' of ones.
ARCHIVE = (
    'eNqdVDFv00AUPtuJkzgwVIpoEII5SDSJHcdJhqrFQl48kBYhRV0s1zlSq27csy8FKiFFQlRi'
    'gz+AWOAvMPEjyszGUDExwcw7OwTbTVLByeeT7973+XvvfXbfFHIIFYvo0pBQFZ02hja168eH'
    'nqFX0N6CMeVfEDTgIN4mnEP9wDmoWxPqeqFkBXh/4npDi+Jx6AfWiSIRvlYbFCA4hEh7hIkQ'
    'QyTD8236KN6USC4ibJL8QIDVOZ4Q0RQpKeyYyBRM/owUTc4UzkjpteP4nocd6vrjUHoYDHGA'
    'hw9ch0pEurtLypRc2yXXw3rfLBQbF5/PPwIdm/2lWa+hW5B1/YkfHNnUOsFBCNSGvr4weRgy'
    'o/704+tLpphbSV1Bm4x6lrple+5ofITH1NB7y9ivHprKBGw9Jd95eAW/UkAZ5UHA/nOKfVYp'
    'Q+fQnudS6mHG8Wrz200RosSVHEWUm7mi0TT0P7vTLbhtwwVzCvP9NmNcf3PxtgoH1ZWMJSQD'
    '47zSG/9Wi5bE3nT+bvT46vyrqMsaEIkPceBCB05tZh3LHRq6+l9NkNsdpSv3em1Z7rZVTW01'
    'Fa2paa12s6cpHaUja7CvqF2m8mfFvl8DHbVIJcdH9ZzpTLpTuqT873eYxSWtt5bC/IpwGSdn'
    '4UnjVFLwHQ4tdGuWIWmbcorhS8Qwt1sWmHRHulk3eDT3WBaV7HQphTqIUEvyTJa+mlYZwRab'
    'om+K4r1Z3B1hY44pZNYPXLw+E+IVcNHR7Xz8HP8X8mKMKUTxcexvtA8SOw==')
PICKLES = (
    'eNp1kM1OwkAQx9ttAV0F8VtuHvFCkIjISQ6Gy8YvvPRimlI2tKZ2me3WRBOSXkD0GTx49NV8'
    'BBMPTiEmkuBmd5L5z+zMbyYhrzT4fmt/7d99XJUqCTn/NNAOQStbRU3TBlIo4YrAfuAy8kUI'
    'OiZYeYwEvlIBt3nY850QyMSiKKrHAbcj/4lHYAzBLFsZFCNPSAUZRiwDPT9UkGWmZaY1RNiH'
    'HDPj+LenjqoDuquEdL2KHSs/iKgteTf2g56teBgJaT/UKJBy2cqlxTHT6XMwZl9oOxCOupmJ'
    'FEyrgDnNo1q10azV64eN+vEJZKYc7iBGjuyFgtw105jByBiWmM6MMSy/uDhywF2FE0f0Uva4'
    '5L0z31UU6EEHVhSsdiA/he1C4R/YgSOde664pLDmIa5neHM4zWrjuIE4RS/LCGKspxhkBBtM'
    'H8Hmi5d22lKw3YGdydTZfYa9DpTSXd2mu1owmr6oAeGVrPb3JKdoWnjxJfjeW2Qulpz+ACSo'
    'jO8=')


def _write(path, text):
  path.write_bytes(zlib.decompress(base64.b64decode(text)))
  return path


def test_reads_what_pytorch_wrote(tmp_path):
  new = weight_files.read(_write(tmp_path / 'new.pth', ARCHIVE), what='it')
  old = weight_files.read(_write(tmp_path / 'old.pth', PICKLES), what='it')
  assert list(new) == ['a'] and list(old) == ['a', 'b']
  for state in (new, old):
    np.testing.assert_array_equal(state['a'], [[0, 3], [1, 4], [2, 5]])
    assert state['a'].dtype == np.float32
  np.testing.assert_array_equal(old['b'], [1, 1])


class _Mischief:

  def __reduce__(self):
    return print, ('this must not run',)


def test_runs_no_code_from_files(tmp_path, capsys):
  path = tmp_path / 'bad.pth'
  path.write_bytes(pickle.dumps(_Mischief()))
  with pytest.raises(errors.UserError, match='print is not a plain tensor'):
    weight_files.read(path, what='it')
  assert not capsys.readouterr().out


def test_other_files(tmp_path):
  path = tmp_path / 'x.pth'
  for content in (b'', b'no weights', pickle.dumps(3), pickle.dumps({'a': 1})):
    path.write_bytes(content)
    with pytest.raises(errors.UserError, match='Cannot read .*x.pth .*be this'):
      weight_files.read(path, what='this')
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('a/b', 'no')
  with pytest.raises(errors.UserError, match='no data.pkl in it'):
    weight_files.read(path, what='this')
