"""Equal shares of this machine's devices, for runs at the same time.

A short process of its own finds the devices: an accelerator that this process
initialized would have no memory left for the runs.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from deblur_jax import errors

FORCED = re.compile(r'(--xla_force_host_platform_device_count=)\d+')
PROBE = '''
import json, jax
devices = jax.local_devices()
platform = devices[0].platform
unit = {'cpu': lambda device: device.id,
        'tpu': lambda device: str(device.coords)}.get(
            platform, lambda device: device.local_hardware_id)
print(json.dumps({'platform': platform, 'devices': len(devices),
                  'units': sorted({*map(unit, devices)})}))
'''
PORT = 8476     # of the first chip of a TPU


class Machine(NamedTuple):
  """What can be shared.

  Attributes:
    platform: 'cpu', 'gpu' or 'tpu'.
    devices: number of JAX's devices.
    units: the GPUs or the chips, by the numbers that their drivers give them;
      of CPUs the devices.
    cores: the numbers of the CPU's cores that this process may use.
  """

  platform: str
  devices: int
  units: tuple[int, ...]
  cores: tuple[int, ...]


class Share(NamedTuple):
  """What one run uses.

  Attributes:
    environment: variables that limit the run to its devices.
    cores: the numbers of its cores; () for all.
    devices: number of JAX's devices; None for all.
  """

  environment: Mapping[str, str] = {}
  cores: tuple[int, ...] = ()
  devices: int | None = None


def of_this_machine(jobs: int) -> list[Share]:
  """The share of each of several runs.

  Args:
    jobs: how many runs there are at a time; one has the whole machine.

  Raises:
    UserError: there are more runs than devices, or no devices were found.
  """
  return [Share()] if jobs == 1 else split(find(), jobs, os.environ)


def find() -> Machine:
  """Asks JAX for the devices, in a process that ends before the runs begin.

  Raises:
    UserError: JAX finds no device.
  """
  done = subprocess.run(
      [sys.executable, '-c', PROBE], capture_output=True, text=True,
      env=os.environ | {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'})
  if done.returncode:
    *_, reason = [f'code {done.returncode}', *done.stderr.split('\n')[:-1]]
    raise errors.UserError(f'JAX finds no devices: {reason}')
  found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
  units = found['units']
  if found['platform'] == 'tpu':
    units = range(len(units))
  return Machine(
      found['platform'], found['devices'], tuple(units), available_cores())


def split(
    machine: Machine, jobs: int, environment: Mapping[str, str]
) -> list[Share]:
  """Splits a machine into equal shares.

  All runs have the same number of devices, so that none differs from the others
  by its batch. What is left over stays idle.

  Args:
    machine: of `find`.
    jobs: number of shares, at least 2.
    environment: of this process; a list of visible devices in it is kept to.

  Raises:
    UserError: there are more shares than devices.
  """
  if machine.platform == 'cpu':
    return _split_cpu(machine, jobs, environment)
  if machine.platform == 'tpu':
    _check(jobs, len(machine.units), 'TPU chips')
    names = _visible('TPU_VISIBLE_CHIPS', machine, environment)
    return [Share(_chip(name, index), (), machine.devices // len(names))
            for index, name in enumerate(names[:jobs])]
  _check(jobs, len(machine.units), 'GPUs')
  names = _visible('CUDA_VISIBLE_DEVICES', machine, environment)
  each = len(names) // jobs
  return [
      Share({'CUDA_VISIBLE_DEVICES': ','.join(
          names[index * each:(index + 1) * each])}, (), each)
      for index in range(jobs)]


def bind(process: int, share: Share) -> None:
  """Limits a process that has just begun to the cores of its share.

  The threads that it starts later, of XLA and TensorFlow too, inherit the
  limit, and their number follows it.

  Args:
    process: its id.
    share: of `split`.
  """
  if share.cores and hasattr(os, 'sched_setaffinity'):
    with contextlib.suppress(ProcessLookupError):     # it has ended
      os.sched_setaffinity(process, share.cores)


def _split_cpu(machine, jobs, environment):
  forced = len(machine.units) > 1
  if forced:
    _check(jobs, len(machine.units), 'CPU devices')
  _check(jobs, len(machine.cores), 'CPU cores')
  each = len(machine.units) // jobs if forced else 1
  variables = {}
  if 'XLA_FLAGS' in environment:
    variables['XLA_FLAGS'] = FORCED.sub(
        rf'\g<1>{each}', environment['XLA_FLAGS'])
  if 'JAX_NUM_CPU_DEVICES' in environment:
    variables['JAX_NUM_CPU_DEVICES'] = str(each)
  bounds = [len(machine.cores) * index // jobs for index in range(jobs + 1)]
  return [Share(variables, machine.cores[begin:end], each)
          for begin, end in zip(bounds, bounds[1:], strict=False)]


def _chip(name, index):
  """The variables of libtpu for a process of one chip, alone in its world.

  They are those of JAX's own tests of several processes on one host.
  """
  return {
      'ALLOW_MULTIPLE_LIBTPU_LOAD': '1', 'CLOUD_TPU_TASK_ID': '0',
      'TPU_CHIPS_PER_PROCESS_BOUNDS': '1,1,1', 'TPU_PROCESS_BOUNDS': '1,1,1',
      'TPU_PROCESS_ADDRESSES': f'localhost:{PORT + index}',
      'TPU_PROCESS_PORT': str(PORT + index), 'TPU_VISIBLE_CHIPS': name}


def _visible(variable, machine, environment):
  """The names of the units, from the list that the user gave, if any."""
  given = environment.get(variable)
  if not given:
    return [str(unit) for unit in machine.units]
  names = given.split(',')
  return [names[unit] for unit in machine.units]


def _check(jobs, count, what):
  if jobs > count:
    raise errors.UserError(
        f'--jobs={jobs} is more than the {count} {what} of this machine: each '
        f'run needs its own. Give --jobs={count} or less.')


def available_cores() -> tuple[int, ...]:
  """Returns the numbers of the CPU's cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return tuple(sorted(os.sched_getaffinity(0)))
  return tuple(range(os.cpu_count() or 1))
