"""ONNX files: the jaxpr of a function, translated primitive by primitive."""

import importlib
import os
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from deblur_jax import errors
from deblur_jax.export import onnx_operations
from deblur_jax.export import traced as traced_lib
from deblur_jax.export.onnx_graph import Graph, Node, Value, known
from deblur_jax.export.traced import Traced
from deblur_jax.models import layers

OPSET, IR = 18, 8
# Primitives that call a jaxpr, which is translated in their place.
INSIDE = ('call_jaxpr', 'fun_jaxpr', 'jaxpr')
CALLS = ('checkpoint', 'closed_call', 'core_call', 'custom_jvp_call',
         'custom_vjp_call', 'custom_vjp_call_jaxpr', 'jit', 'pjit', 'remat2')


def write(path: str | os.PathLike, traced: Traced) -> None:
  """Writes an ONNX file with the input `blur` and the output `restored`.

  Args:
    path: of the file.
    traced: the function.

  Raises:
    UserError: the package onnx is missing, or a primitive has no row in
      `onnx_operations.OPERATIONS`.
  """
  onnx = package('onnx')
  graph, restored = translate(traced)
  graph.nodes.append(_named(graph.stored(
      restored, range(len(restored.shape)))))
  used = {name for node in graph.nodes for name in node.inputs}
  picture = lambda name, shape: onnx.helper.make_tensor_value_info(
      name, onnx.TensorProto.FLOAT, [
          side if isinstance(side, int) else str(side) for side in shape])
  made = onnx.helper.make_graph(
      [onnx.helper.make_node(node.kind, node.inputs, node.outputs,
                             **node.attributes)
       for node in _needed(graph.nodes)],
      'restore', [picture('blur', traced.blur.shape)],
      [picture('restored', traced.restored)],
      [onnx.numpy_helper.from_array(array, name)
       for name, array in graph.constants.items() if name in used])
  model = onnx.helper.make_model(
      made, ir_version=IR,
      opset_imports=[onnx.helper.make_opsetid('', OPSET)])
  onnx.helper.set_model_props(model, {
      'range': 'float32 RGB in [0, 1], not clipped',
      'least_side': str(traced.least)})
  onnx.checker.check_model(model)
  onnx.save(model, path)


def read(path: str | os.PathLike) -> Callable[[np.ndarray], np.ndarray]:
  """Reads a file for onnxruntime on the CPU.

  Args:
    path: of the file.

  Returns:
    A function [n, h, w, c] -> [n, h, w, 3].

  Raises:
    UserError: the package onnxruntime is missing, or the file cannot be read.
  """
  runtime = package('onnxruntime')
  options = runtime.SessionOptions()
  options.log_severity_level = 3
  # As many threads as JAX: by default onnxruntime uses one for two CPUs.
  options.intra_op_num_threads = os.cpu_count()
  # Spinning threads would slow the network, which is timed alternately.
  options.add_session_config_entry('session.intra_op.allow_spinning', '0')
  try:
    session = runtime.InferenceSession(
        path, options, providers=['CPUExecutionProvider'])
  except Exception as error:   # onnxruntime's errors have no common class
    raise errors.UserError(
        f'Cannot read {path}: {" ".join(str(error).split())}') from None
  return lambda blur: session.run(None, {'blur': blur})[0]


def translate(traced: Traced) -> tuple[Graph, Value]:
  """Translates a function to a graph.

  Args:
    traced: the function.

  Returns:
    The graph and the value of its result.

  Raises:
    UserError: a primitive has no row in `onnx_operations.OPERATIONS`.
  """
  graph = Graph()
  closed = jax.make_jaxpr(traced_lib.with_layers(traced.fn, LAYERS))(
      traced.blur)
  blur = graph.input('blur', traced.blur.shape)
  restored, = _inline(graph, closed.jaxpr, closed.consts, [blur])
  return graph, graph.full(restored)


def _inline(graph, jaxpr, constants, values, where=''):
  """Translates a jaxpr in the layer `where`, and returns its results."""
  known_as = lambda variable, array: _constant(array, variable.aval.dtype)
  env = dict(zip(jaxpr.constvars, map(
      known_as, jaxpr.constvars, constants), strict=True))
  env |= dict(zip(jaxpr.invars, values, strict=True))
  read = lambda atom: (
      known_as(atom, atom.val) if hasattr(atom, 'val') else env[atom])
  for equation in jaxpr.eqns:
    inner = str(equation.source_info.name_stack)
    layer = '/'.join(filter(None, (where, inner)))
    results = _equation(
        graph, equation, [read(x) for x in equation.invars], layer)
    env |= dict(zip(equation.outvars, results, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _equation(graph, equation, values, where):
  primitive, params = equation.primitive, equation.params
  if primitive.name in CALLS:
    inside = next(params[key] for key in INSIDE if key in params)
    return _inline(graph, getattr(inside, 'jaxpr', inside),
                   getattr(inside, 'consts', []), values, where)
  make = onnx_operations.OPERATIONS.get(primitive.name)
  if make is None:
    raise _no_row(primitive.name, where)
  result = onnx_operations.evaluate(equation, values)
  if result is None:
    try:
      result = make(graph, values, params)
    except NotImplementedError as error:
      raise _no_row(f'{primitive.name} {error}', where) from error
  return result if primitive.multiple_results else [result]


def _constant(array, dtype) -> Value:
  name = np.dtype(dtype).name
  return known(np.asarray(array, 'float32' if name == 'bfloat16' else name))


def _named(name):
  return Node('Identity', (name,), ('restored',), {})


def _needed(nodes):
  """The nodes on which the result depends."""
  wanted, kept = {'restored'}, []
  for node in reversed(nodes):
    if wanted & set(node.outputs):
      kept.append(node)
      wanted.update(node.inputs)
  return kept[::-1]


def _no_row(what, where):
  return errors.UserError(
      f'ONNX export has no operation for {what}, in '
      f'{where or "the function itself"}; add a row to OPERATIONS in '
      'export/onnx_operations.py.')


def package(name: str):
  """Imports onnx or onnxruntime.

  Args:
    name: of the package.

  Returns:
    The module.

  Raises:
    UserError: the package is missing.
  """
  with errors.needs_extra(name, extra='onnx', what='An ONNX file'):
    return importlib.import_module(name)


# A primitive that is never run: ONNX has its own operation for this layer.
_layer_norm = core.Primitive('layer_norm')
_layer_norm.def_abstract_eval(lambda x, scale, bias, *, epsilon: x)


def _norm(module, x):
  weights = module.variables['params']
  return _layer_norm.bind(x.astype(jnp.float32), weights['scale'],
                          weights['bias'], epsilon=module.epsilon)


LAYERS = {layers.Depthwise: traced_lib.depthwise, nn.LayerNorm: _norm}
