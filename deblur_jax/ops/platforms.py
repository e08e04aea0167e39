"""The platform that a computation is traced for."""

import jax

from deblur_jax.state import Array


def platform(*arrays: Array) -> str:
  """Finds the platform that a function of these arrays will run on.

  While a function is traced that is the platform of the mesh of its arguments,
  which may be of devices that this machine lacks: a step of training can be
  compiled for a TPU on a machine that has none.

  Args:
    *arrays: arguments of the function, traced or not.

  Returns:
    'cpu', 'gpu', 'cuda', 'rocm' or 'tpu': the platform of the first mesh, or of
    this machine's first device where no array is on a mesh.
  """
  for array in arrays:
    device = jax.typeof(array).sharding.mesh.abstract_device
    if device is not None:
      return device.platform
  return jax.default_backend()
