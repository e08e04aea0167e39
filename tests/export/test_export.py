"""Exported files: other programs compute the same results as JAX."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deblur_jax import errors, export, models
from deblur_jax.export import onnx_file, onnx_shapes, traced
from deblur_jax.export import onnx_graph as graph_lib
from deblur_jax.ops import conv, frames, pad
from deblur_jax.state import Method, TrainState

RNG = np.random.default_rng(0)
# Options with operations that the small networks lack.
MORE = {'srn': dict(recurrent=True),
        'mimo_unet': dict(attention='cbam', unshuffle=2)}


def restoring(name, **options):
  """blur -> restored of a small network, all parameters random."""
  net = models.build(name=name, **models.NETWORKS[name].small | options)
  params = jax.tree.map(
      lambda x: RNG.normal(0, 0.3, x.shape).astype(np.float32),
      models.shapes(net))
  return lambda blur: net.apply({'params': params}, blur)[0]


def pictures(*sizes):
  return [RNG.random((*size, 3), dtype=np.float32) for size in sizes]


def method(restore, **options):
  return Method(
      None, None, lambda state, blur: restore(blur), **options)


STATE = TrainState(step=np.zeros(()), params={}, opt_state={})


@pytest.fixture(scope='module')
def nafnet():
  return restoring('nafnet')


@pytest.fixture
def need_onnx():
  pytest.importorskip('onnx', reason='ONNX files need the package onnx')
  pytest.importorskip('onnxruntime', reason='ONNX files run by onnxruntime')


@pytest.mark.parametrize('name', models.MODELS)
def test_onnx_is_the_network(name, tmp_path, need_onnx):
  restore = restoring(name, **MORE.get(name, {}))
  path = tmp_path / 'net.onnx'
  least = export.write(path, restore, kind='onnx')
  assert least <= 16
  run = onnx_file.read(path)
  for shape in ((1, 19, 26, 3), (2, 16, 17, 3))[:1 if name != 'unet' else 2]:
    blur = RNG.random(shape, dtype=np.float32)
    expected = np.asarray(jax.jit(restore)(blur))
    close = 1e-4 * max(1, np.abs(expected).max() / 10)   # float32's rounding
    np.testing.assert_allclose(run(blur), expected, atol=close)


def test_bfloat16_is_exported_as_float32(tmp_path, need_onnx):
  restore = restoring('single_scale', dtype='bfloat16')
  path = tmp_path / 'net.onnx'
  export.write(path, restore, kind='onnx')
  blur = RNG.random((1, 9, 7, 3), dtype=np.float32)
  got, expected = onnx_file.read(path)(blur), np.asarray(restore(blur))
  scale = np.abs(expected).max()
  assert 0 < np.abs(got - expected).max() < 0.02 * scale


def test_networks_of_videos_take_their_frames(tmp_path, need_onnx):
  pytest.importorskip('tensorflow', reason='SavedModel needs TensorFlow')
  kernel = jnp.asarray(RNG.normal(0, 0.3, (3, 3, 9, 3)), jnp.float32)
  restore = lambda blur: (
      frames.middle(blur) + conv.conv(blur, kernel, padding=1))
  rows = export.run(
      method(restore, window=3), STATE, out=tmp_path,
      kinds=['stablehlo', 'onnx', 'saved_model'], sizes=[(16, 24), (9, 14)],
      pictures=pictures((16, 24)), repeats=0)
  assert all(row.agrees() for row in rows)
  blur = RNG.random((2, 12, 17, 9), dtype=np.float32)
  expected = jax.jit(restore)(blur)
  assert expected.shape == (2, 12, 17, 3)
  for row in rows:
    got = export.KINDS[row.kind].read(row.path)(blur)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_convolutions_have_no_transpositions_between_them(tmp_path, need_onnx):
  import onnx
  path = tmp_path / 'net.onnx'
  export.write(path, restoring('single_scale', blocks=2), kind='onnx')
  kinds = [node.op_type for node in onnx.load(path).graph.node]
  assert kinds.count('Conv') == 6 and kinds.count('Transpose') == 2


FUNCTIONS = {
    'choices': lambda x: jnp.where(
        (x > 0.5) & ~(x == 0) | (x != x), jnp.clip(x, 0.2, 0.8), x**3 + x**4),
    'curves': lambda x: jnp.log1p(jnp.exp(-x)) + jax.nn.sigmoid(x) ** 0.5,
    'gelu': lambda x: jax.nn.gelu(x, approximate=False) + jnp.sqrt(jnp.abs(x)),
    'ends': lambda x: x.min(axis=2, keepdims=True) + x.max(axis=(1, 3)).sum(),
    'turned': lambda x: jnp.flip(x, (1, 3)).transpose(0, 2, 3, 1),
    'cut': lambda x: lax.pad(x, 0.5, ((0, 0, 0), (-1, 2, 0), (3, -2, 0),
                                      (0, 1, 0))),
    'parts': lambda x: jnp.stack(jnp.split(x, 3, axis=-1), axis=1).squeeze(-1),
    'joined': lambda x: x.reshape(x.shape[0], -1, 3)[:, :, None] * 2,
    'between': lambda x: jnp.einsum('nhwc,nhwd->ncd', x, x),
    'product': lambda x: x @ jnp.arange(12.0).reshape(3, 4),
    'counted': lambda x: x + jnp.arange(3.0)[None, None, None] / x.shape[1],
    'strided': lambda x: lax.conv_general_dilated(
        x, jnp.ones((3, 2, 3, 2)), (2, 1), ((-1, 2), (1, 0)),
        rhs_dilation=(1, 2), dimension_numbers=('NHWC', 'HWIO', 'NHWC')),
    'repeated': lambda x: jnp.concatenate(
        [jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape), x], axis=1),
    'taken': lambda x: jnp.take(
        x, jnp.arange(2 * x.shape[2]) % 3 + 1, axis=2, mode='clip')
                       + jnp.arange(x.shape[1])[None, :, None, None],
    'mirrored_to_a_multiple': lambda x: pad.reflect_to_multiple(
        x, multiple=16)[0],
    'mirrored': lambda x: jnp.pad(
        x, ((0, 0), (2, 2), (1, 0), (0, 0)), mode='reflect'),
}


@pytest.mark.parametrize('name', FUNCTIONS)
def test_operations(name, need_onnx):
  import onnx
  import onnxruntime
  fn = FUNCTIONS[name]
  n, h, w = jax.export.symbolic_shape('n, h, w', constraints=('h >= 4',
                                                              'w >= 4'))
  graph, value = onnx_file.translate(traced.Traced(
      fn, jax.ShapeDtypeStruct((n, h, w, 3), jnp.float32), 1))
  last = graph.stored(value, range(len(value.shape)))
  info = lambda name, shape: onnx.helper.make_tensor_value_info(
      name, onnx.TensorProto.FLOAT, shape)
  made = onnx.helper.make_graph(
      [onnx.helper.make_node(node.kind, node.inputs, node.outputs,
                             **node.attributes) for node in graph.nodes],
      'g', [info('blur', ['n', 'h', 'w', 3])], [info(last, None)],
      [onnx.numpy_helper.from_array(array, name)
       for name, array in graph.constants.items()])
  model = onnx.helper.make_model(made, ir_version=onnx_file.IR, opset_imports=[
      onnx.helper.make_opsetid('', onnx_file.OPSET)])
  session = onnxruntime.InferenceSession(model.SerializeToString())
  x = RNG.random((2, 7, 5, 3), dtype=np.float32)
  np.testing.assert_allclose(
      session.run(None, {'blur': x})[0], fn(x), atol=1e-5)


def test_axes_are_split_and_joined_in_groups():
  assert onnx_shapes._groups((2, 1, 6, 4, 5), (2, 3, 2, 20, 1)) == [
      ([0], [0]), ([2], [1, 2]), ([3, 4], [3])]
  h, = jax.export.symbolic_shape('h')
  assert onnx_shapes._groups((4 * h, 3 * h), (2, 2 * h, 3 * h)) == [
      ([0], [0, 1]), ([1], [2])]


def test_equal_nodes_are_stored_once():
  graph = graph_lib.Graph()
  h, = jax.export.symbolic_shape('h')
  x = graph.input('blur', (1, h, 8, 3))
  names = [graph.dims([8 * ((h + 7) // 8), 3]) for _ in range(2)]
  assert names[0] == names[1]
  assert graph.stored(x, (0, 3, 1, 2)) == graph.stored(x, (0, 3, 1, 2))
  assert [node.kind for node in graph.nodes].count('Transpose') == 1


def test_stablehlo_takes_every_size(nafnet, tmp_path):
  sizes = [(16, 16), (9, 14), (1, 5)]
  row, = export.run(
      method(nafnet), STATE, out=tmp_path, kinds=['stablehlo'], sizes=sizes,
      pictures=pictures((12, 20)), repeats=0)
  assert row.agrees() and list(row.errors) == sizes and row.psnr > 100
  assert row.path.stat().st_size == row.bytes
  exported = jax.export.deserialize(bytearray(row.path.read_bytes()))
  assert {'cpu', 'cuda', 'tpu'} <= set(exported.platforms)
  assert [path.name for path in tmp_path.iterdir()] == ['deblur.stablehlo']


def test_a_file_is_measured(nafnet, tmp_path, need_onnx):
  row, = export.run(
      method(nafnet), STATE, out=tmp_path / 'new', kinds=['onnx'], name='x',
      sizes=[(16, 24)], pictures=pictures((16, 16)), repeats=2)
  assert row.agrees() and row.path == tmp_path / 'new' / 'x.onnx'
  assert row.ms > 0 and row.network_ms > 0 and row.ratio > 0
  assert 2**18 < row.memory_bytes < 2**30


def test_small_pictures_are_enlarged_inside(tmp_path):
  traced_net = traced.trace(restoring('resnet'))
  assert traced_net.least == 16
  # Large pictures are not enlarged.
  assert traced.trace(lambda x: x).least == 1


def halved_and_back(blur):
  """Compiles fast; its sizes change and must be even."""
  padded, size = pad.to_multiple(blur, multiple=2)
  kernel = jnp.asarray(np.random.default_rng(1).normal(0, 0.3, (2, 2, 3, 12)))
  x = conv.conv(padded, kernel.astype(jnp.float32), stride=2)
  return pad.crop(conv.pixel_shuffle(x, factor=2), size=size)


def test_tensorflow_files(tmp_path):
  pytest.importorskip('tensorflow', reason='SavedModel needs TensorFlow')
  rows = export.run(
      method(halved_and_back), STATE, out=tmp_path,
      kinds=['saved_model', 'tflite', 'tflite_int8'],
      sizes=[(16, 24), (9, 14)], pictures=pictures((16, 24), (20, 30)),
      repeats=0)
  saved, lite, int8 = rows
  assert saved.agrees() and list(saved.errors) == [(16, 24), (9, 14)]
  assert lite.agrees() and list(lite.errors) == [(16, 24)]
  assert not int8.agrees() and 15 < int8.psnr < 70
  assert all(row.bytes > 1000 for row in rows)


def test_a_file_that_converts_but_does_not_run_is_refused(tmp_path):
  pytest.importorskip('tensorflow', reason='TFLite files need TensorFlow')
  kernel = jnp.asarray(RNG.normal(0, 0.3, (3, 3, 3, 3)), jnp.float32)

  def restore(blur):    # int8 needs a kernel that is known beforehand
    return conv.conv(blur, kernel * blur.mean(), padding=1)

  make = lambda kind: export.write(
      tmp_path / kind, restore, kind=kind, size=(16, 24),
      pictures=pictures((16, 24)))
  make('tflite')
  with pytest.raises(errors.UserError, match=(
      r'does not run this network in int8: .*; take --kind tflite, in')) as one:
    make('tflite_int8')
  assert '\n' not in str(one.value)
  assert [path.name for path in tmp_path.iterdir()] == ['tflite']


def test_one_size_where_symbolic_sizes_fail(tmp_path):
  restore = restoring('mimo_unet', blocks=1, features=4, attention='window')
  path = tmp_path / 'net.stablehlo'
  with pytest.raises(errors.UserError, match='every size .* give one size'):
    export.write(path, restore, kind='stablehlo')
  assert not list(tmp_path.iterdir())
  traced_net = traced.trace(restore, size=(12, 9))
  assert traced_net.blur.shape == (1, 12, 9, 3)


@pytest.mark.parametrize('wrong, match', [
    (dict(kinds=['onxx']), "kind of file 'onxx'.*Did you mean 'onnx'"),
    (dict(sizes=[]), 'at least one size'),
    (dict(sizes=[(0, 4)]), 'at least one size'),
    (dict(kinds=['onnx']), r'deblur\.onnx exists already.*overwrite=True'),
    ({}, r'deblur\.onnx exists already'),
])
def test_mistakes(wrong, match, nafnet, tmp_path):
  (tmp_path / 'deblur.onnx').write_text('mine')
  with pytest.raises(errors.UserError, match=match):
    export.run(method(nafnet), STATE, out=tmp_path, **wrong)
  assert (tmp_path / 'deblur.onnx').read_text() == 'mine'


def test_other_functions_are_refused(nafnet, tmp_path):
  with pytest.raises(errors.UserError, match='fits each picture'):
    export.run(method(nafnet, per_image=True), STATE, out=tmp_path)
  with pytest.raises(errors.UserError, match='Only functions that restore'):
    export.run(method(lambda x: x[:, :-1]), STATE, out=tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_primitive_without_a_row_is_named(tmp_path, need_onnx):
  def restore(blur):
    with jax.named_scope('strange_layer'):
      return jnp.sort(blur, axis=-1)

  with pytest.raises(errors.UserError,
                     match='no operation for sort, in .*strange_layer'):
    export.write(tmp_path / 'net.onnx', restore, kind='onnx')
  assert not list(tmp_path.iterdir())


def test_missing_packages_and_broken_files(tmp_path, monkeypatch):
  for name, kind, extra in (
      ('onnx', 'onnx', 'onnx'), ('tensorflow', 'saved_model', 'train')):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(errors.UserError, match=rf'deblur-jax\[{extra}\]'):
      export.write(tmp_path / 'net', lambda x: x, kind=kind)
  path = tmp_path / 'broken'
  with pytest.raises(errors.UserError, match='broken: No such file'):
    export.KINDS['stablehlo'].read(path)
  path.write_bytes(b'nothing')
  with pytest.raises(errors.UserError, match='is no file of jax.export'):
    export.KINDS['stablehlo'].read(path)
  pytest.importorskip('onnxruntime', reason='it reads ONNX files')
  with pytest.raises(errors.UserError, match='Cannot read .*broken'):
    export.KINDS['onnx'].read(path)
