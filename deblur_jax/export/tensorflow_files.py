"""SavedModel and TFLite (LiteRT) files, both converted from StableHLO.

TensorFlow's converter reads only older versions of StableHLO, so the program is
serialized in an older one. A TFLite file is better for one size: with symbolic
sizes half of its operations compute shapes.
"""

import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo as dialect

from deblur_jax import errors
from deblur_jax.export import stablehlo
from deblur_jax.export import traced as traced_lib
from deblur_jax.models import layers

# TensorFlow 2.21 reads up to 1.16; jax 0.10 writes 1.17, jax 0.12 1.22.
VERSION = '1.10.0'
CALLING_CONVENTION = 9   # the newest that TensorFlow 2.21 knows
SIGNATURE = 'serving_default'
LAYERS = {layers.Depthwise: traced_lib.depthwise}


def write_saved_model(
    path: str | os.PathLike, traced: traced_lib.Traced) -> None:
  """Writes a SavedModel with the input `blur` and the output `restored`.

  Args:
    path: of the folder.
    traced: the function.

  Raises:
    UserError: TensorFlow is missing.
  """
  tf = tensorflow()
  module = _module(tf, traced)
  tf.saved_model.save(
      module, str(path), signatures={SIGNATURE: module.restore})


def read_saved_model(
    path: str | os.PathLike) -> Callable[[np.ndarray], np.ndarray]:
  """Reads a SavedModel.

  Args:
    path: of the folder.

  Returns:
    A function [n, h, w, c] -> [n, h, w, 3].

  Raises:
    UserError: TensorFlow is missing.
  """
  loaded = tensorflow().saved_model.load(str(path))
  call = loaded.signatures[SIGNATURE]
  # The default argument keeps the loaded model alive.
  return lambda blur, _=loaded: call(blur=blur)['restored'].numpy()


def write_tflite(
    path: str | os.PathLike, traced: traced_lib.Traced, *,
    pictures: Sequence[np.ndarray] = ()) -> None:
  """Writes a TFLite file; with pictures its convolutions are int8.

  Args:
    path: of the file.
    traced: the function.
    pictures: float32 [h, w, c] in [0, 1], typical inputs of the function's
      channels and size. They calibrate the ranges of int8; input and output
      stay float32.

  Raises:
    UserError: TensorFlow is missing, its converter refuses the network, or its
      interpreter does not run the file.
  """
  tf = tensorflow()
  module = _module(tf, traced)
  converter = tf.lite.TFLiteConverter.from_concrete_functions(
      [module.restore.get_concrete_function()], module)
  if len(pictures):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None]] for x in pictures)
  try:
    pathlib.Path(path).write_bytes(converter.convert())
  except OSError:
    raise
  except Exception as error:   # the converter's errors have no common class
    raise errors.UserError(
        'TensorFlow cannot convert this network to TFLite: '
        f'{errors.first_line(error)}') from error
  if all(isinstance(side, int) for side in traced.blur.shape):
    _check_it_runs(path, traced.blur.shape, is_int8=bool(len(pictures)))


def _check_it_runs(path, shape, *, is_int8):
  """Refuses a file that converts but does not run, as int8 often does."""
  kind, advice = (('in int8', '; take --kind tflite, in float32') if is_int8
                  else ('in float32', ''))
  try:
    result = read_tflite(path)(np.full(shape, 0.5, np.float32))
  except (RuntimeError, ValueError) as error:
    raise errors.UserError(
        f'The interpreter of TFLite does not run this network {kind}: '
        f'{errors.first_line(error).rstrip(".")}{advice}.') from error
  if not np.isfinite(result).all():
    raise errors.UserError(
        f'The results of TFLite {kind} are not finite{advice}.')


def read_tflite(
    path: str | os.PathLike) -> Callable[[np.ndarray], np.ndarray]:
  """Reads a TFLite file for ai_edge_litert, or else for TensorFlow.

  Args:
    path: of the file.

  Returns:
    A function [n, h, w, c] -> [n, h, w, 3].

  Raises:
    UserError: both packages are missing.
  """
  interpreter = interpreter_class()(
      model_path=str(path), num_threads=os.cpu_count())
  blur, = interpreter.get_input_details()
  restored, = interpreter.get_output_details()
  shape = None

  def restore(image):
    nonlocal shape
    if image.shape != shape:
      interpreter.resize_tensor_input(blur['index'], image.shape)
      interpreter.allocate_tensors()
      shape = image.shape
    interpreter.set_tensor(blur['index'], image)
    interpreter.invoke()
    return interpreter.get_tensor(restored['index'])

  return restore


def _module(tf, traced):
  """A tf.Module with the method `restore`."""
  from tensorflow.compiler.tf2xla.python import xla
  fn = traced_lib.with_layers(traced.fn, LAYERS)
  exported = stablehlo.make(traced._replace(fn=fn), platforms=('cpu',))
  program = _older(exported.mlir_module_serialized)
  version = min(exported.calling_convention_version, CALLING_CONVENTION)
  shape_in, shape_out = (
      [side if isinstance(side, int) else None for side in shape]
      for shape in (traced.blur.shape, traced.restored))
  module = tf.Module()

  def restore(blur):
    result, = xla.call_module(
        [blur], version=version, module=program, Tout=[tf.float32],
        Sout=[shape_out], platforms=['CPU'])
    return {'restored': tf.ensure_shape(result, shape_out)}

  module.restore = tf.function(restore, autograph=False, input_signature=[
      tf.TensorSpec(shape_in, tf.float32, name='blur')])
  return module


def _older(program: bytes) -> bytes:
  with ir.Context() as context:
    return dialect.serialize_portable_artifact_str(
        str(dialect.deserialize_portable_artifact(context, program)), VERSION)


def tensorflow():
  """Imports TensorFlow, or raises a UserError that says how to install it."""
  with errors.needs_extra('TensorFlow', extra='train'):
    import tensorflow as tf
  return tf


def interpreter_class():
  """Returns the TFLite interpreter of ai_edge_litert, or of TensorFlow.

  Raises:
    UserError: both packages are missing.
  """
  try:
    from ai_edge_litert.interpreter import Interpreter
  except ImportError:
    return tensorflow().lite.Interpreter
  return Interpreter
