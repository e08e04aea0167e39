"""VGG19's features against float64 NumPy; their loss and metric."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage
from PIL import Image
from scipy import ndimage

from deblur_jax import errors, losses, metrics
from deblur_jax.ops import vgg

# (block, n, channels, torchvision's number) up to conv3_4.
CONVS = [(1, 1, 64, 0), (1, 2, 64, 2), (2, 1, 128, 5), (2, 2, 128, 7),
         (3, 1, 256, 10), (3, 2, 256, 12), (3, 3, 256, 14), (3, 4, 256, 16)]
LAYERS = ('conv3_3', 'relu1_1', 'conv2_2', 'relu3_3')
PREPARE = {
    'caffe': lambda x: 255 * x[..., ::-1] - [103.939, 116.779, 123.68],
    'torchvision': lambda x: (x - [0.485, 0.456, 0.406]) / [.229, .224, .225],
    'deblurgan': lambda x: 2 * x - 1}


def _random_weights():
  """Names of the .npz, He-normal; up to conv3_3."""
  random = np.random.default_rng(0)
  weights, c_in = {}, 3
  for block, n, c_out, _ in CONVS[:7]:
    weights[f'block{block}_conv{n}__kernel'] = random.normal(
        0, (2 / (9 * c_in)) ** 0.5, (3, 3, c_in, c_out)).astype(np.float32)
    weights[f'block{block}_conv{n}__bias'] = random.normal(
        0, 0.1, c_out).astype(np.float32)
    c_in = c_out
  return weights


def _as_torchvision(weights):
  named = {}
  for block, n, _, number in CONVS:
    name = f'block{block}_conv{n}__'
    if name + 'kernel' in weights:
      named[f'features.{number}.weight'] = np.ascontiguousarray(
          weights[name + 'kernel'].transpose(3, 2, 0, 1))
      named[f'features.{number}.bias'] = weights[name + 'bias']
  return named


def _save_safetensors(path, arrays):
  header, numbers = {'__metadata__': {'format': 'pt'}}, b''
  for name, array in arrays.items():
    header[name] = {
        'dtype': 'F32', 'shape': array.shape,
        'data_offsets': [len(numbers), len(numbers) + array.nbytes]}
    numbers += array.tobytes()
  text = json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, 'little') + text + numbers)
  return path


def _save_npz(path, arrays):
  np.savez(path, **arrays)
  return path


@pytest.fixture(scope='module')
def weights():
  return _random_weights()


@pytest.fixture(scope='module')
def path(weights, tmp_path_factory):
  return _save_npz(tmp_path_factory.mktemp('vgg') / 'vgg19.npz', weights)


@pytest.fixture(scope='module')
def real_path(real_data):
  return real_data / 'weights' / 'vgg19_conv1_1_to_conv3_4.npz'


@pytest.fixture(scope='module')
def pictures():
  """Blurred and sharp; of the odd height pooling ignores a row."""
  sharp = skimage.data.coffee()[150:172, 200:217][None] / np.float32(255)
  return [ndimage.uniform_filter(sharp, (0, 1, 7, 0)), sharp]


def _reference(weights, image, convention):
  """All layers of one float64 [h, w, 3]: patches times matrices."""
  x, found = PREPARE[convention](image.astype(np.float64)), {}
  for block, n, _, _ in CONVS:
    name = f'block{block}_conv{n}__'
    if name + 'kernel' not in weights:
      return found
    if n == 1 and block > 1:
      h, w, c = x.shape
      x = x[:h // 2 * 2, :w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c)
      x = x.max(axis=(1, 3))
    patches = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((1, 1), (1, 1), (0, 0))), (3, 3), axis=(0, 1))
    patches = patches.transpose(0, 1, 3, 4, 2).reshape(*x.shape[:2], -1)
    kernel = weights[name + 'kernel'].astype(np.float64)
    x = patches @ kernel.reshape(-1, kernel.shape[3]) + weights[name + 'bias']
    found[f'conv{block}_{n}'] = x
    x = found[f'relu{block}_{n}'] = np.maximum(x, 0)
  return found


def _error(values, expected):
  """The largest difference, relative."""
  assert values.dtype == jnp.float32
  return np.abs(values - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize('convention', vgg.CONVENTIONS)
def test_agrees_with_the_reference(convention, path, weights, pictures):
  images = np.concatenate(pictures)
  net, params = vgg.load(path=path, layers=LAYERS, convention=convention)
  found = jax.jit(net.apply)({'params': params}, images)
  references = [_reference(weights, image, convention) for image in images]
  for layer, values in zip(LAYERS, found, strict=True):
    expected = np.stack([reference[layer] for reference in references])
    assert values.shape == expected.shape
    assert _error(values, expected) < 2e-6, layer


def test_the_real_network_on_a_real_photo(real_path, real_data):
  photo = sorted((real_data / 'photos' / 'bsds').iterdir())[0]
  image = np.asarray(Image.open(photo).convert('RGB'))[100:148, 100:165] / 255
  features = vgg.build(path=real_path)
  values = jax.jit(features.apply)(
      features.params, np.float32(image)[None])[0]
  expected = _reference(np.load(real_path), image, 'caffe')['conv3_3']
  assert expected.min() < 0 < expected.max()
  assert _error(values, expected) < 1e-5


def test_before_and_after_relu(path, pictures):
  built = [vgg.build(path=path, layer=layer)
           for layer in ('conv2_1', 'relu2_1')]
  before, after = (jax.jit(features.apply)(features.params, pictures[1])
                   for features in built)
  assert before.min() < 0
  np.testing.assert_array_equal(after, np.maximum(before, 0))
  assert before.shape == (1, 11, 8, 128)


def test_all_layouts_give_the_same(weights, path, pictures, tmp_path):
  weights = {name: weights[name] for name in list(weights)[:6]}
  named = _as_torchvision(weights)
  files = {
      'torchvision': [_save_npz(tmp_path / 'torch.npz', named),
                      _save_safetensors(tmp_path / 'a.safetensors', named)],
      'caffe': [path, _save_safetensors(tmp_path / 'b.safetensors', weights)]}
  params = vgg.build(path=path, layer='conv2_1').params
  for convention, paths in files.items():
    same = vgg.build(path=path, layer='conv2_1', convention=convention)
    expected = same.apply(params, pictures[0])
    for file in paths:
      features = vgg.build(path=file, layer='conv2_1')
      jax.tree.map(np.testing.assert_array_equal, features.params, params)
      np.testing.assert_array_equal(
          features.apply(params, pictures[0]), expected)


def test_names_and_numbers_of_the_whole_network():
  """As torchvision counts: features.0 to features.34."""
  assert list(vgg.LAYERS) == [
      f'{kind}{block}_{n}' for block, depth in enumerate([2, 2, 4, 4, 4], 1)
      for n in range(1, depth + 1) for kind in ('conv', 'relu')]
  assert [names[0] for names in vgg._torchvision_names()] == [
      f'features.{number}.weight' for number in (
          0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)]
  net = vgg.Vgg19(('relu5_4',), 'caffe')
  shapes = jax.eval_shape(
      net.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))['params']
  count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
  assert count == 20_024_384   # torchvision's vgg19().features


def test_bfloat16(path, pictures):
  exact = vgg.build(path=path)
  quick = vgg.build(path=path, dtype='bfloat16')
  expected = jax.jit(exact.apply)(exact.params, pictures[1])
  error = _error(jax.jit(quick.apply)(quick.params, pictures[1]), expected)
  assert 1e-4 < error < 0.03


def test_hash(path):
  found = hashlib.sha256(path.read_bytes()).hexdigest()
  vgg.build(path=path, sha256=found.upper())
  with pytest.raises(errors.UserError, match=(
      f'vgg19.npz has the SHA-256 {found}, expected 12ab: it is')):
    vgg.build(path=path, sha256='12ab')


def test_damaged_safetensors(weights, tmp_path):
  name = 'block1_conv1__kernel'
  whole = _save_safetensors(
      tmp_path / 'x.safetensors', {name: weights[name]}).read_bytes()
  for content in (b'', whole[:5], whole[:50], whole[:-1], b'\xff' * 40,
                  whole.replace(b'[3, 3, 3, 64]', b'[3, 3, 3, 65]'),
                  whole.replace(b'"F32"', b'"F99"')):
    (tmp_path / 'x.safetensors').write_bytes(content)
    with pytest.raises(errors.UserError, match="Cannot read .*VGG19's weights"):
      vgg.build(path=tmp_path / 'x.safetensors')


@pytest.mark.parametrize('options, match', [
    ({'path': 'none.npz'}, "No file none.npz: it should be VGG19's weights, "
     r".*torchvision's vgg19 \(features.0.weight, .*Keras.*"
     r'block1_conv1__kernel \[3, 3, 3, 64\].*licence'),
    ({'path': 'none.npz', 'sha256': '12ab'}, 'No file none.npz'),
    ({'layer': 'conv3_5'}, "Unknown layer of VGG19 'conv3_5'; known: conv1_1,"),
    ({'layer': 'relu33'}, "Did you mean 'relu3_3'"),
    ({'layer': 'relu3_4'}, 'vgg19.npz ends before conv3_4: it holds conv1_1, '
     'conv1_2, .*, conv3_3'),
    ({'convention': 'cafe'}, 'convention of VGG19 .*caffe, deblurgan, torchv'),
    ({'dtype': 'float16'}, 'computes in float32 or bfloat16, got float16'),
])
def test_mistakes(options, match, path):
  with pytest.raises(errors.UserError, match=match):
    vgg.build(**{'path': path} | options)


@pytest.mark.parametrize('changes, match', [
    ({'features.0.weight': (32, 3, 3, 3), 'features.0.bias': (32,)},
     r'x.npz is not VGG19: it has features.0.weight \(32, 3, 3, 3\) instead of '
     r'\(64, 3, 3, 3\); features.0.bias \(32,\) instead of \(64,\)'),
    # VGG16 with batch norm fits up to conv1_1.
    ({'features.1.weight': (64,), 'features.3.weight': (64, 64, 3, 3),
      'features.7.weight': (128, 64, 3, 3), 'features.7.bias': (128,)},
     r'features.7.weight \(128, 64, 3, 3\) instead of \(128, 128, 3, 3\)'),
    ({'features.5.weight': (128, 64, 3, 3), 'features.5.bias': (128,)},
     'not VGG19: it has no features.2.weight, but later layers'),
    ({'features.0.weight': None, 'conv.weight': (3, 3)},
     'not VGG19: it holds features.0.bias, conv.weight, ...; it should be VGG'),
])
def test_other_networks(changes, match, tmp_path):
  shapes = {'features.0.weight': (64, 3, 3, 3), 'features.0.bias': (64,)}
  arrays = {name: np.zeros(shape, np.float32)
            for name, shape in (shapes | changes).items() if shape}
  with pytest.raises(errors.UserError, match=match):
    vgg.build(path=_save_npz(tmp_path / 'x.npz', arrays), layer='conv1_1')


def test_images_that_do_not_fit(path):
  features = vgg.build(path=path)
  for shape in ((1, 3, 8, 3), (1, 8, 8, 1), (8, 8, 3)):
    with pytest.raises(errors.UserError,
                       match='block 3 .* at least 4x4 pixels, got'):
      features.apply(features.params, jnp.zeros(shape))


def test_loss_and_its_gradient(path, weights, pictures):
  features = vgg.build(path=path)
  loss = jax.jit(jax.value_and_grad(losses.perceptual(features.apply)))
  blur, sharp = pictures
  value, gradient = loss(blur, sharp, features.params)

  def expected(image):
    maps = (_reference(weights, x, 'caffe')['conv3_3']
            for x in (image, sharp[0]))
    return np.square(next(maps) - next(maps)).mean()

  np.testing.assert_allclose(value, expected(blur[0]), rtol=1e-5)
  way = np.random.default_rng(1).normal(size=blur[0].shape)
  # A small step, so that almost no ReLU or maximum switches.
  ahead, behind = (expected(blur[0] + step * way) for step in (1e-7, -1e-7))
  np.testing.assert_allclose(
      (gradient[0] * way).sum(), (ahead - behind) / 2e-7, rtol=1e-3)
  value, gradient = loss(sharp, sharp, features.params)
  assert value == 0 and not gradient.any()


def test_black_pictures_have_a_finite_gradient(path, pictures):
  features = vgg.build(path=path, layer='relu3_3')
  black = np.zeros_like(pictures[1])
  gradient = jax.jit(jax.grad(losses.perceptual(features.apply)))(
      black, pictures[1], features.params)
  assert jnp.isfinite(gradient).all()


def test_weights_are_not_constants_of_the_program(path, pictures):
  features = vgg.build(path=path)
  traced = jax.make_jaxpr(jax.grad(losses.perceptual(features.apply)))(
      *pictures, features.params)
  assert sum(np.size(const) for const in traced.consts) < 100


def test_content_takes_it_at_the_finest_scale(path, pictures):
  features = vgg.build(path=path, layer='conv1_1')
  perceptual = losses.perceptual(features.apply)
  restored, sharp = ([image, image[:, ::2, ::2]] for image in pictures)
  mse = sum(losses.mse(*pair) for pair in zip(restored, sharp, strict=True))
  want = perceptual(restored[0], sharp[0], features.params)
  for over_scales, weight in (('sum', 1.0), ('half_mean', 0.25)):
    content = losses.content(
        '2*mse + 0.5*perceptual', over_scales=over_scales,
        frozen={'perceptual': perceptual})
    np.testing.assert_allclose(
        content(restored, sharp, features.params),
        2 * weight * mse + 0.5 * want, rtol=1e-6)
  alone = losses.content('perceptual', frozen={'perceptual': perceptual})
  np.testing.assert_allclose(
      alone(restored, sharp, features.params), want, rtol=1e-6)


def test_content_without_features():
  with pytest.raises(errors.UserError, match=(
      r"Loss 'perceptual' needs VGG19's features: .*method.features")):
    losses.content('l1 + 9*perceptual')
  with pytest.raises(errors.UserError, match="known: .*mse, perceptual, psnr"):
    losses.content('perc', frozen={'perceptual': None})
  with pytest.raises(ValueError, match=r'\(1, 4, 4, 3\) and \(1, 8, 4, 3\)'):
    losses.perceptual(None)(
        jnp.zeros((1, 4, 4, 3)), jnp.zeros((1, 8, 4, 3)), {})


def _unit_distance(weights, a, b, convention):
  a, b = (_reference(weights, np.round(x * 255) / 255, convention)
          for x in (a, b))
  return np.mean([
      np.square(a[layer] / np.linalg.norm(a[layer], axis=2, keepdims=True)
                - b[layer] / np.linalg.norm(b[layer], axis=2, keepdims=True)
                ).sum(axis=2).mean()
      for layer in ('relu1_2', 'relu2_2', 'relu3_3')])


def _metric(**options):
  return jax.jit(metrics.choose({'vgg19_unit': options})['vgg19_unit'])


def test_metric(path, weights, pictures):
  fn = _metric(path=path, convention='torchvision')
  blur, sharp = pictures
  value = fn(blur, sharp)
  assert value.shape == (1,) and value.dtype == jnp.float32
  want = _unit_distance(weights, blur[0], sharp[0], 'torchvision')
  np.testing.assert_allclose(value, [want], rtol=2e-4)
  np.testing.assert_allclose(fn(sharp, blur), value, rtol=1e-5)
  assert fn(sharp, sharp) == 0
  assert np.isnan(fn(jnp.full_like(blur, jnp.nan), sharp)).all()


def test_metric_refuses(path):
  fn = _metric(path=path)
  with pytest.raises(errors.UserError, match='vgg19_unit needs images of at l'):
    fn(jnp.zeros((1, 3, 9, 3)), jnp.zeros((1, 3, 9, 3)))
  with pytest.raises(errors.UserError, match='equal shapes'):
    fn(jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 8, 9, 3)))


def test_metric_on_a_real_photo(real_path, real_data):
  """More blur is a larger distance."""
  photo = sorted((real_data / 'photos' / 'bsds').iterdir())[0]
  sharp = np.asarray(Image.open(photo).convert('RGB'))[None, 100:164, 100:180]
  sharp = sharp / np.float32(255)
  fn = _metric(path=real_path)
  values = [float(fn(ndimage.uniform_filter(sharp, (0, 1, side, 0)), sharp)[0])
            for side in (3, 5, 9)]
  assert 0 < values[0] < values[1] < values[2] < 2
