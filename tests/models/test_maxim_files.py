"""MAXIM's weights: read in three forms, refused where they do not fit."""

import json
import logging
import re

import helpers
import jax
import numpy as np
import pytest
from flax import traverse_util
from safetensors import numpy as safetensors_numpy

from deblur_jax import errors, methods, models
from deblur_jax.methods import pretrained
from deblur_jax.models import maxim, maxim_files
from deblur_jax.ops import array_files, tfjs
from deblur_jax.pretrained import convert, zoo
from deblur_jax.training import workdir

# Every parameter has more than one value, as the reader requires.
TINY = dict(features=8, depth=2, groups=1, bottleneck=1)
ONE = dict(features=8, depth=1, groups=1, bottleneck=1, stages=1, scales=1)
SCOPE = 'StatefulPartitionedCall/jax2tf_apply_/Wrapper/backbone/'
OPTIMIZER = {'opt/state/step': np.int32(7),
             'opt/state/param_states/a/grad_ema': np.ones(2, np.float32),
             'step': np.int32(7)}


def _values(net, *, theirs=True):
  """Random parameters, name -> array, as the authors' tree or as ours."""
  random = np.random.default_rng(0)
  names = maxim_files.their_names(net)
  return {names[name] if theirs else name:
          random.normal(size=shape).astype(np.float32)
          for name, shape in maxim_files.leaves(net).items()}


def _npz(path, values, prefix, **others):
  np.savez(path, **{prefix + name: value for name, value in values.items()},
           **others)
  return path


def _safetensors(path, values):
  path.write_bytes(safetensors_numpy.save(values))
  return path


def _graph(folder, values):
  """A graph as jax2tf and the converter to TensorFlow.js make it."""
  weights, nodes, parts = [], [], []
  for rank, name in enumerate(sorted(values)):
    module, _, leaf = name.rpartition('/')
    value, constant = values[name], f'{SCOPE}{module}/Reshape_{rank}'
    if leaf != 'kernel':
      op = {'bias': 'AddV2', 'scale': 'Mul'}[leaf]
      value = value.reshape(1, 1, 1, -1)
    elif value.ndim == 2:
      op = 'Einsum'
      constant = f'StatefulPartitionedCall/jax2tf_arg_{rank}/ReadVariableOp'
    elif 'ConvTranspose' in module:
      op, value = 'Conv2DBackpropInput', value[::-1, ::-1].swapaxes(2, 3)
    else:
      op = 'Conv2D'
    consumer = f'{SCOPE}{module}/' + ('einsum/Einsum' * (op == 'Einsum') or op)
    nodes.append({'op': op, 'name': consumer, 'input': ['x', constant]})
    weights += [
        {'name': constant, 'shape': value.shape, 'dtype': 'float32'},
        {'name': f'axis_{rank}', 'shape': [2], 'dtype': 'int32'},
        {'name': f'epsilon_{rank}', 'shape': [], 'dtype': 'float32'}]
    parts += [np.ascontiguousarray(value).tobytes(), bytes(12)]
  folder.mkdir()
  content = b''.join(parts)
  half = len(content) // 2
  (folder / 'shard1of2.bin').write_bytes(content[:half])
  (folder / 'shard2of2.bin').write_bytes(content[half:])
  (folder / 'model.json').write_text(json.dumps({
      'modelTopology': {'node': nodes}, 'weightsManifest': [
          {'paths': ['shard1of2.bin', 'shard2of2.bin'], 'weights': weights}]}))
  return folder


def _same(params, values):
  flat = traverse_util.flatten_dict(params, sep='/')
  assert flat.keys() == values.keys()
  for name, value in flat.items():
    np.testing.assert_array_equal(value, values[name])


@pytest.mark.parametrize('options', [
    ONE, TINY | dict(stages=2, scales=2), ONE | dict(stages=3),
    ONE | dict(depth=2, rank=3, widest=12)])
def test_the_rule_of_shapes_is_the_network(options):
  net = maxim.MAXIM(**options)
  image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
  traced = jax.eval_shape(net.init, jax.random.key(0), image)['params']
  traced = traverse_util.flatten_dict(traced, sep='/')
  assert maxim_files.leaves(net) == {
      name: leaf.shape for name, leaf in traced.items()}


def test_the_network_of_the_paper_has_its_size():
  net = maxim.MAXIM()
  assert len(maxim_files.leaves(net)) == 2754
  assert models.training_only(net) == {
      f'stage_2_output_conv_{i}/{leaf}' for i in (1, 2)
      for leaf in ('kernel', 'bias')}


@pytest.mark.parametrize('form, stages', [
    ('opt/target/', 1), ('params/', 1), ('flat', 2), ('graph', 1),
    ('graph', 3)])
def test_every_form_gives_the_same_tree(form, stages, tmp_path):
  net = maxim.MAXIM(**TINY, stages=stages, scales=1)
  values = _values(net)
  if form == 'graph':
    path = _graph(tmp_path / 'models', values)
  elif form == 'flat':
    path = _safetensors(tmp_path / 'x.safetensors', values)
  else:
    path = _npz(tmp_path / 'x.npz', values, form, **OPTIMIZER)
  assert maxim_files.holds(path)
  found = maxim_files.read(path)
  _same(found.params, _values(net, theirs=False))
  assert found.network == dict(
      name='maxim', **TINY, stages=stages, scales=1)
  head = maxim_files.their_names(net.clone(scales=2))
  assert {head[name] for name in found.lacking} == {
      f'stage_{stages - 1}_output_conv_1/{leaf}' for leaf in ('kernel', 'bias')}
  assert set(found.others) == (set(OPTIMIZER) if '/' in form else set())
  model = zoo.load(path, dtype='bfloat16')
  _same(model.state.params['net'], _values(net, theirs=False))
  assert model.exact and model.tiling == net.tiling


def test_a_file_with_all_heads_has_all_scales(tmp_path):
  net = maxim.MAXIM(**TINY, scales=2)
  path = _safetensors(tmp_path / 'x.safetensors', _values(net))
  found = maxim_files.read(path)
  assert found.network['scales'] == 2 and not found.lacking
  assert 'stage_2_output_conv_1' not in zoo.load(path).state.params['net']


def test_to_a_run_and_back_bit_for_bit(tmp_path):
  """But for what is missing, which the report names."""
  net = maxim.MAXIM(**ONE | dict(depth=2))
  values = _values(net)
  path = _npz(tmp_path / 'theirs.npz', values, 'opt/target/', **OPTIMIZER)
  entry, = convert.to_run(helpers.tiny(), tmp_path / 'run', [path])
  text = '\n'.join(convert.describe(entry))
  assert 'is maxim: google-research/maxim' in text
  assert 'num_stages=1' in text and "the optimizer's state: 2 arrays" in text
  assert re.search(r'lacks 2 arrays, 435 values, of stage_0_super.*_1/Conv_1: '
                   'only training needs them, .* has scales=1', text)
  config = workdir.read_config(tmp_path / 'run')
  for suffix, read, prefix in (
      ('.npz', array_files.load, 'params/'),
      ('.safetensors', safetensors_numpy.load_file, '')):
    back = tmp_path / f'back{suffix}'
    convert.from_run(config, tmp_path / 'run', back)
    found = {name.removeprefix(prefix): value
             for name, value in read(back).items()}
    _same(traverse_util.unflatten_dict(found, sep='/'), values)


BIAS = 'stage_0_encoder_block_0/Conv_0/bias'
INPUT = 'stage_0_input_conv_0/kernel'


def _without(values, *names):
  return {name: value for name, value in values.items() if name not in names}


@pytest.mark.parametrize('change, message', [
    (lambda v: _without(v, BIAS), f'stages=2 .*: 1 missing: {BIAS}'),
    (lambda v: {k: a for k, a in v.items() if 'global_block' not in k
                or k.endswith('input_proj/bias')},
     r'\d+ missing: stage_0_global_block_0/input_proj/kernel, .* and \d+ more'),
    (lambda v: v | {BIAS: np.ones(5, np.float32)},
     rf'1 of another shape: {BIAS} \(5,\) instead of \(8,\)'),
    (lambda v: v | {INPUT: np.ones((3, 3, 3, 16), np.float32)},
     r'features=16.* of another shape: stage_0_input_conv_0/bias \(8,\) '
     r'instead of \(16,\), .* and \d+ more'),
    (lambda v: v | {INPUT: np.ones(3, np.float32)}, 'is no convolution'),
    (lambda v: v | {'stage_0_encoder_block_0/x/bias': np.ones(1, np.float32)},
     '1 unknown: stage_0_encoder_block_0/x/bias'),
    *((lambda v, name=name: v | {name: np.ones(1, np.float32)},
       f'1 unknown: {name}') for name in (
           'step', 'head/kernel', 'batch_stats/mean', 'UpSampleRatio_x/bias')),
    (lambda v: v | {BIAS: np.ones(8, np.int32)},
     rf'arrays that are no floats: {BIAS} \(int32\)'),
    (lambda v: v | {f'stage_{i}_input_conv_0/bias': v[BIAS] for i in (2, 3)},
     'stages must be between 1 and 3, got 4'),
    (lambda v: v | {BIAS: np.full(8, np.nan, np.float32)},
     f'not finite in {BIAS}'),
    (lambda v: {f'{one}/{k}': a for one in 'ab' for k, a in v.items()},
     'holds MAXIM more than once, as a/, b/'),
])
def test_what_does_not_fit(change, message, tmp_path):
  values = _values(maxim.MAXIM(**TINY, stages=2, scales=1))
  path = _safetensors(tmp_path / 'x.safetensors', change(values))
  with pytest.raises(errors.UserError, match=message) as error:
    zoo.load(path)
  assert '\n' not in str(error.value) and str(path) in str(error.value)
  with pytest.raises(errors.UserError, match=message):
    convert.to_run(helpers.tiny(), tmp_path / 'run', [path])
  assert not (tmp_path / 'run').exists()


def _edit(folder, change):
  path = folder / 'model.json'
  index = json.loads(path.read_text())
  change(index)
  path.write_text(json.dumps(index))


@pytest.mark.parametrize('damage, message', [
    (lambda f: (f / 'shard2of2.bin').unlink(),
     "has no 'shard2of2.bin', one of its 2 files of values"),
    (lambda f: (f / 'shard1of2.bin').write_bytes(b'x'),
     'truncated or of another model'),
    (lambda f: (f / 'model.json').write_text('{"a": '), 'Cannot read .*json'),
    (lambda f: (f / 'model.json').write_text('[]'), 'graph of TensorFlow.js'),
    (lambda f: _edit(f, lambda i: i['weightsManifest'][0].update(
        paths=['../x.bin', 'shard2of2.bin'])),
     'files must be in the same folder'),
    (lambda f: _edit(f, lambda i: i['weightsManifest'][0]['weights'][0].update(
        shape=[10**12])), 'bytes, but model.json declares'),
    (lambda f: _edit(f, lambda i: i['weightsManifest'][0]['weights'][0].update(
        quantization={})), 'is quantized'),
    (lambda f: _edit(f, lambda i: i['weightsManifest'][0]['weights'][0].update(
        shape=[True, 8])), r'has the shape \(True, 8\)'),
    (lambda f: _edit(f, lambda i: i['modelTopology'].update(node=[])),
     'is no parameter of a Flax network'),
    (lambda f: _edit(f, lambda i: [
        node.update(op=[1] * 9000) for node in i['modelTopology']['node']]),
     r'\(used by .*\.\.\..*is no parameter'),
])
def test_a_damaged_graph(damage, message, tmp_path):
  folder = _graph(tmp_path / 'models', _values(maxim.MAXIM(**ONE)))
  damage(folder)
  with pytest.raises(errors.UserError, match=message) as error:
    zoo.load(folder)
  assert '\n' not in str(error.value) and len(str(error.value)) < 1000
  with pytest.raises(errors.UserError, match='No file .*model.json'):
    tfjs.read(tmp_path)


def test_a_file_that_is_cut_short(tmp_path):
  path = _npz(tmp_path / 'x.npz', _values(maxim.MAXIM(**ONE)), 'params/')
  path.write_bytes(path.read_bytes()[:-1000])
  for fails in (zoo.load,
                lambda path: pretrained.network(pretrained.Start(path))):
    with pytest.raises(errors.UserError, match='Cannot read .*x.npz') as error:
      fails(str(path))
    assert '\n' not in str(error.value)
  for name in ('none.npz', 'none.safetensors'):
    with pytest.raises(errors.UserError, match='No file .*none'):
      zoo.load(tmp_path / name)


def test_a_file_of_another_network(tmp_path):
  path = _safetensors(tmp_path / 'x.safetensors', {'a': np.ones(2)})
  with pytest.raises(errors.UserError, match='is no model: a model is a f'):
    zoo.load(path)
  with pytest.raises(errors.UserError,
                     match='does not hold MAXIM: it has no stage_0'):
    convert.to_run(helpers.tiny(), tmp_path / 'run', [path], layout='maxim')


# ---- to begin with

def _start(path, **options):
  return dict(name='maxim', **options), pretrained.Start(str(path))


def test_a_start_may_read_less_than_there_is(tmp_path):
  net = maxim.MAXIM(**TINY, stages=3, scales=1)
  path = _safetensors(tmp_path / 'x.safetensors', _values(net))
  assert pretrained.network(pretrained.Start(str(path)))['stages'] == 3
  less = models.build(**(_start(path, **TINY, stages=1, scales=2)[0]))
  found = pretrained.weights(less, pretrained.Start(str(path)))
  assert traverse_util.flatten_dict(found, sep='/').keys() == (
      maxim_files.leaves(less).keys())
  shallow = _safetensors(tmp_path / 'y.safetensors', _values(
      maxim.MAXIM(**TINY, stages=1, scales=1)))
  with pytest.raises(errors.UserError, match='nets.net.stages is 2, but 1 in'):
    pretrained.weights(models.build(name='maxim', **TINY, stages=2, scales=1),
                       pretrained.Start(str(shallow)))


def test_heads_that_are_missing_are_drawn(tmp_path, caplog):
  whole = maxim.MAXIM(**ONE | dict(depth=2, scales=2))
  path = _safetensors(
      tmp_path / 'x.safetensors', _values(whole.clone(scales=1)))
  start = pretrained.Start(str(path))
  with pytest.raises(errors.UserError, match='lacks 2 of the .* nets.net: sta'):
    pretrained.weights(whole, start)
  with caplog.at_level(logging.WARNING):
    known = pretrained.weights(whole, start, incomplete=True)
  assert 'lacks stage_0_supervised_attention_module_1/Conv_1' in caplog.text
  params, other = (pretrained.begin(whole, known, jax.random.key(seed))
                   for seed in (0, 1))
  flat, other = (traverse_util.flatten_dict(one, sep='/')
                 for one in (params, other))
  assert {name: leaf.shape for name, leaf in flat.items()} == (
      maxim_files.leaves(whole))
  head = 'stage_0_supervised_attention_module_1/Conv_1/kernel'
  assert np.any(flat[head] != other[head])
  np.testing.assert_array_equal(flat[BIAS], other[BIAS])


def test_a_bundled_model_by_name_from_anywhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = helpers.get_config('finetune', None).to_dict()
  network = methods.complete(config)['nets']['net']
  assert network == zoo.card('maxim-1')['net'] | {'dtype': 'float32'}
  config['method']['init_from']['path'] = 'maxim-3'
  with pytest.raises(errors.UserError, match=(
      "No model 'maxim-3'.* Did you mean 'maxim")):
    methods.complete(config)
  config['method']['init_from'] = None
  with pytest.raises(errors.UserError, match='nets.net.name is missing'):
    methods.build(config)


def test_the_network_is_that_of_the_start(tmp_path):
  path = _safetensors(tmp_path / 'x.safetensors', _values(maxim.MAXIM(**ONE)))
  config = helpers.changed('finetune', **{'method.init_from.path': str(path)})
  config['nets'] = {'net': {'remat': True}}
  stored = methods.complete(config)
  assert stored['nets']['net'] == dict(name='maxim', remat=True, **ONE)
  assert methods.completed_by(config, stored) == stored
  state = methods.build(config).init(
      jax.random.key(0), {'blur': np.zeros((1, 64, 64, 3), np.float32)})
  _same(state.params['net'], _values(maxim.MAXIM(**ONE), theirs=False))


@pytest.mark.parametrize('stages', [0, 4])
def test_stages_are_1_to_3(stages):
  with pytest.raises(errors.UserError, match=(
      f'stages must be between 1 and 3, got {stages}')):
    models.build(name='maxim', stages=stages)


def test_the_published_weights(real_data, tmp_path):
  """Read only: all forms that are made of them give the same tree."""
  source = real_data / 'weights' / 'maxim3s_gopro.safetensors'
  values = safetensors_numpy.load_file(source)
  for path in (source, _npz(tmp_path / 'x.npz', values, 'opt/target/'),
               _graph(tmp_path / 'models', values)):
    found = maxim_files.read(path)
    _same(found.params, values)
    assert models.count_parameters(found.params) == 22_207_605
    assert sum(np.prod(shape) for shape in found.lacking.values()) == 5_190
