"""What the subjects share: compile a program, run it in turns, describe it."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from deblur_jax import errors
from deblur_jax.training import train

# Dense peaks from the makers' data sheets, TFLOP/s a device; float32
# convolutions run as TF32 there.
PEAKS = {
    'NVIDIA A100': {'bfloat16': 312.0, 'float16': 312.0, 'float32': 156.0},
    'NVIDIA H100 80GB HBM3': {
        'bfloat16': 989.4, 'float16': 989.4, 'float32': 494.7},
    'NVIDIA H200': {'bfloat16': 989.4, 'float16': 989.4, 'float32': 494.7},
}
FUSED = '__cudnn$convBiasActivationForward'
WARM_UP = 2    # rounds that are not counted


class Program(NamedTuple):
  """A compiled program and how to run it once, to the end."""

  compiled: Any
  run: Callable[[], None]
  compile_seconds: float
  shape: tuple[int, ...]   # of the batch
  flop: int                # by formula


def compile_program(fn, *args) -> tuple[Any, float]:
  """(the compiled program of a jitted function, seconds)."""
  start = time.perf_counter()
  compiled = fn.lower(*args).compile()
  return compiled, time.perf_counter() - start


def seconds(run: Callable[[], Any]) -> float:
  """Seconds of one call."""
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def in_turns(
    runs: Mapping[str, Callable[[], float]], *, repeats: int
) -> dict[str, list[float]]:
  """Seconds of several programs that take turns, after two uncounted rounds.

  Args:
    runs: name -> a function that runs the program once and returns seconds.
    repeats: how many rounds count.
  """
  rounds = [{name: run() for name, run in runs.items()}
            for _ in range(WARM_UP + repeats)][WARM_UP:]
  return {name: [one[name] for one in rounds] for name in runs}


def measure(
    program: Program, others: Mapping[str, Callable[[], float]], *,
    dtype: str, repeats: int, steps: int = 1) -> dict[str, Any]:
  """Times a program and describes it.

  Args:
    program: ours, of `steps` steps.
    others: name -> a function that runs one step of another program with the
      same task and returns its seconds.
    dtype: what the network computes in.
    repeats: rounds that are timed; ours and the others take turns.
    steps: steps in a round.

  Returns:
    Seconds of a step (median, p10, p90), FLOP, memory, and for each of the
    others `NAME_seconds` and `NAME_ratio`, our median over theirs.
  """
  times = in_turns(
      {'ours': lambda: seconds(program.run) / steps} | {
          name: lambda run=run: statistics.mean(run() for _ in range(steps))
          for name, run in others.items()}, repeats=repeats)
  ours = times.pop('ours')
  median = statistics.median(ours)
  rate = program.flop / median / 1e12
  peak = peak_tflops(jax.devices()[0].device_kind, dtype)
  cost = program.compiled.cost_analysis() or {}
  memory = program.compiled.memory_analysis()
  result = {
      'shape': program.shape,
      'compile_seconds': program.compile_seconds,
      'seconds': _spread(ours),
      'images_per_second': program.shape[0] / median,
      # XLA counts the program of one device, a loop as one round of it (on CPUs
      # weight gradients are loops), and sometimes gives -1 or nothing.
      'flop_xla': max(cost.get('flops', 0), 0) * jax.device_count() or None,
      'flop_formula': program.flop,
      'tflop_per_second': rate,
      'share_of_peak': peak and rate / peak / jax.device_count(),
      'temporary_bytes': memory and memory.temp_size_in_bytes,
      'cudnn_fused': _count_fused(program.compiled)}
  for name, theirs in times.items():
    result[f'{name}_seconds'] = _spread(theirs)
    result[f'{name}_ratio'] = median / statistics.median(theirs)
  return result


def report(
    parts: Mapping[str, Any], *, dtype: str, parameters: int, peer=None
) -> dict[str, Any]:
  """The line of JSON: the machine, what was measured, the largest memory.

  Args:
    parts: title -> what `measure` returned.
    dtype: what the network computes in.
    parameters: of one model.
    peer: the official code, which is closed here.
  """
  result = {
      'device': jax.devices()[0].device_kind, 'devices': jax.device_count(),
      'jax': jax.__version__, 'dtype': dtype, 'parameters': parameters,
      **parts, 'peak_memory_bytes': train.peak_memory()}
  if peer:
    result['peer_peak_memory_bytes'] = peer.close()
  return result


def peak_tflops(device_kind: str, dtype: str) -> float | None:
  """A device's peak in TFLOP/s, None where unknown."""
  for name, peaks in PEAKS.items():
    if device_kind.startswith(name):
      return peaks.get(dtype)
  return None


def parse_size(text: str) -> tuple[int, int]:
  """--size as numbers: '720x1280' -> (720, 1280)."""
  height, _, width = text.partition('x')
  if not (height.isdigit() and width.isdigit() and int(height) * int(width)):
    raise errors.UserError(f'--size must be like 720x1280, got {text!r}.')
  return int(height), int(width)


def _spread(times):
  if len(times) == 1:
    return dict.fromkeys(('median', 'p10', 'p90'), times[0])
  tenths = statistics.quantiles(times, n=10, method='inclusive')
  return {'median': statistics.median(times), 'p10': tenths[0],
          'p90': tenths[-1]}


def _count_fused(compiled):
  if jax.default_backend() != 'gpu':
    return None
  return compiled.as_text().count(FUSED)
