"""What `experiments.benchmark` and `.compare` do: compile, run, describe."""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors, methods, models
from deblur_jax.evaluation import test_sets
from deblur_jax.ops import macs
from deblur_jax.priors import solve
from deblur_jax.training import loop, parallel, train, workdir
from experiments import peers

# Dense peaks by the makers' data sheets, TFLOP/s a device; float32 convolutions
# run as TF32 there.
PEAKS = {
    'NVIDIA A100': {'bfloat16': 312.0, 'float16': 312.0, 'float32': 156.0},
    'NVIDIA H100 80GB HBM3': {
        'bfloat16': 989.4, 'float16': 989.4, 'float32': 494.7},
    'NVIDIA H200': {'bfloat16': 989.4, 'float16': 989.4, 'float32': 494.7},
}
EVAL = 'eval.json'
STEPS = 5     # iterations of a prior in one program
FUSED = '__cudnn$convBiasActivationForward'


class Program(NamedTuple):
  """A compiled program and how to run it once, to the end."""

  compiled: Any
  run: Callable[[], None]
  compile_seconds: float
  shape: tuple[int, ...]   # of the batch
  flop: int                # by formula


def measure(
    config: dict[str, Any], what: list[str], size: tuple[int, int], *,
    repeats: int, peer: peers.Peer | None = None, onnx: bool = False
) -> dict[str, Any]:
  """Everything that the line of JSON says.

  Args:
    config: plain dicts.
    what: names in `PROGRAMS`.
    size: height and width for 'restore'.
    repeats: timed runs of each.
    peer: the network to compare with.
    onnx: whether restoration is compared with its own file in ONNX Runtime.

  Raises:
    UserError: for an unknown name in `what`, and all that `train.setup` and
      `export.write` raise.
  """
  for name in what:
    errors.look_up(PROGRAMS, name, what='--what')
  parts = train.setup(config)
  state = parts.init()
  dtype = _dtype(config)
  result = {
      'device': jax.devices()[0].device_kind, 'devices': jax.device_count(),
      'jax': jax.__version__, 'dtype': dtype,
      'parameters': models.count_parameters(state.params)}
  for name, make in PROGRAMS.items():
    if name in what:
      others = _peer_of(peer, name)
      if onnx and name == 'restore':
        others['onnx'] = _onnx(parts, state, size)
      program = make(parts, state, config=config, size=size)
      result[name] = describe(
          program, _times(program, repeats, others), dtype=dtype)
  result['peak_memory_bytes'] = train.peak_memory()
  if peer:
    result['peer_peak_memory_bytes'] = peer.close()
  return result


def measure_fit(
    config: dict[str, Any], size: tuple[int, int], *, images: int,
    in_turn: bool | None = None, repeats: int,
    peer: peers.Peer | None = None) -> dict[str, Any]:
  """The same for a prior: seconds of an iteration, all images together.

  Args:
    config: plain dicts, of a task to which nothing but the picture is known.
    size: height and width of the result.
    images: how many are fitted together; the peer fits one.
    in_turn: see `loop.make_chunk`.
    repeats: timed runs of STEPS iterations.
    peer: the network to compare with.

  Raises:
    UserError: what the config refuses.
  """
  solve.check(config)
  method, mesh = methods.build(config), parallel.data_mesh()
  parallel.check_batch_size(images, mesh)
  factor = config['method'].get('factor', 1)
  net = models.build(**config['nets'][next(iter(config['nets']))])
  shape = (images, *(side // factor for side in size), net.channels)
  batch = {'observed': np.asarray(jax.random.uniform(jax.random.key(0), shape))}
  state = loop.spread(method.init(jax.random.key(0), batch), mesh)
  batch = parallel.put(batch, parallel.split_batch(mesh))
  key = parallel.put_key(jax.random.key(0), mesh)
  chunk = loop.make_chunk(
      method, steps=STEPS, mesh=mesh, in_turn=in_turn)
  compiled, seconds = _compile(chunk, state, batch, key)
  flop = 2 * macs.macs(method.step, state, batch, key)

  def run():
    nonlocal state
    state, curve = compiled(state, batch, key)
    jax.block_until_ready((state, curve))

  parameters = models.count_parameters(state.params) // images
  program = Program(compiled, run, seconds, shape, flop)
  times = _times(program, repeats, _peer_of(peer, 'train'), steps=STEPS)
  result = {
      'device': jax.devices()[0].device_kind, 'devices': jax.device_count(),
      'jax': jax.__version__, 'dtype': net.dtype, 'parameters': parameters,
      'fit': describe(program, times, dtype=net.dtype),
      'peak_memory_bytes': train.peak_memory()}
  if peer:
    result['peer_peak_memory_bytes'] = peer.close()
  return result


def compare(
    folders: Sequence[pathlib.Path], size: tuple[int, int], *, repeats: int
) -> list[dict[str, Any]]:
  """Restoration by several runs, in turns on one device.

  Args:
    folders: of the runs, the first to compare the others with.
    size: height and width of the image.
    repeats: timed rounds.

  Returns:
    A row each: run, device, parameters, gmacs_256, psnr_uint8 and
    input_psnr_uint8 (of eval.json, or None), ms (the median), ratio (the median
    over rounds of ms over the ms of the first run).

  Raises:
    UserError: no run there, no folder, or runs judged on unlike test sets.
  """
  if not folders:
    raise errors.UserError('Nothing to compare: --workdir=RUN --workdir=RUN')
  _check_same_tests(folders)
  rows, runs = zip(*(_restoring(folder, size) for folder in folders),
                   strict=True)
  rounds = [[_seconds(run) for run in runs] for _ in range(2 + repeats)][2:]
  return [
      row | {'ms': 1e3 * statistics.median(seconds[i] for seconds in rounds),
             'ratio': statistics.median(
                 seconds[i] / seconds[0] for seconds in rounds)}
      for i, row in enumerate(rows)]


def _check_same_tests(folders):
  """A UserError where the PSNRs of two runs are of other pictures."""
  judged = {folder: workdir.read_json(folder / EVAL) for folder in folders
            if (folder / EVAL).exists()}
  inputs = {folder: found['input']['psnr_uint8']
            for folder, found in judged.items()}
  if len({round(psnr, 3) for psnr in inputs.values()}) > 1:
    told = ', '.join(f'{folder} {psnr:.3f}' for folder, psnr in inputs.items())
    raise errors.UserError(
        f'These runs were judged on unlike pictures (PSNR of the input: {told} '
        'dB): evaluate them on one test set, by config.data.test.')


def _restoring(folder, size):
  """What there is to say of a run, and how to restore an image with it."""
  config = workdir.read_json(folder / workdir.CONFIG)
  method = methods.build(config, from_checkpoint=True)
  state = jax.tree.map(np.asarray, test_sets.load(config, method, folder))
  mesh = parallel.data_mesh(jax.local_devices()[:1])
  state = parallel.put(state, parallel.replicated(mesh))
  blur = parallel.put(np.asarray(jax.random.uniform(
      jax.random.key(0), (1, *size, 3 * method.window))),
      parallel.replicated(mesh))
  compiled, _ = _compile(loop.on_mesh(method.restore, mesh), state, blur)
  picture = jax.ShapeDtypeStruct(
      (1, 256, 256, 3 * method.window), jnp.float32)
  scores = folder / EVAL
  found = workdir.read_json(scores) if scores.exists() else {}
  psnr = lambda side: found.get(side, {}).get('psnr_uint8')
  return {
      'run': folder.name, 'device': jax.devices()[0].device_kind,
      'parameters': macs.values_read(method.restore, state, picture),
      'gmacs_256': macs.macs(method.restore, state, picture) / 1e9,
      'psnr_uint8': psnr('mean'), 'input_psnr_uint8': psnr('input'),
  }, lambda: jax.block_until_ready(compiled(state, blur))


def make_train(parts, state, *, config, size) -> Program:
  """The training step of `train.setup`; it takes the state away."""
  del size
  batch = next(iter(parts.batches(0)))
  compiled, seconds = _compile(parts.step, state, batch, parts.key)
  crop = config['data']['loader']['crop']
  shape = (config['batch_size'], crop, crop, 3)
  flop = 2 * macs.macs(parts.step, state, batch, parts.key)

  def run():
    nonlocal state
    state, metrics = compiled(state, batch, parts.key)
    jax.block_until_ready((state, metrics))

  return Program(compiled, run, seconds, shape, flop)


def make_restore(parts, state, *, config, size) -> Program:
  """Restoration of one random image a device."""
  del config
  shape = (parts.mesh.size, *size, 3 * parts.method.window)
  blur = jax.device_put(
      jax.random.uniform(jax.random.key(0), shape),
      parallel.split_batch(parts.mesh))
  compiled, seconds = _compile(
      loop.on_mesh(parts.method.restore, parts.mesh), state, blur)
  forward = macs.macs(
      parts.method.restore, state, jax.ShapeDtypeStruct(shape, jnp.float32))
  return Program(
      compiled, lambda: jax.block_until_ready(compiled(state, blur)), seconds,
      shape, 2 * forward)


def describe(
    program: Program, times: dict[str, list[float]], *, dtype: str
) -> dict[str, Any]:
  """One program's part of the result; `times` as of `_times`."""
  ours = times['ours']
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
      # weight gradients are loops), and at times -1 or nothing.
      'flop_xla': max(cost.get('flops', 0), 0) * jax.device_count() or None,
      'flop_formula': program.flop,
      'tflop_per_second': rate,
      'share_of_peak': peak and rate / peak / jax.device_count(),
      'temporary_bytes': memory and memory.temp_size_in_bytes,
      'cudnn_fused': _count_fused(program.compiled)}
  for name in times.keys() - {'ours'}:
    result[f'{name}_seconds'] = _spread(times[name])
    result[f'{name}_ratio'] = median / statistics.median(times[name])
  return result


def peak_tflops(device_kind: str, dtype: str) -> float | None:
  """A device's peak, None where unknown."""
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


def _dtype(config):
  """What the network computes in that restores."""
  nets = config['nets']
  return models.build(**nets[next(iter(nets))]).dtype


def _compile(fn, *args):
  start = time.perf_counter()
  compiled = fn.lower(*args).compile()
  return compiled, time.perf_counter() - start


def _seconds(run):
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def _times(program, repeats, others, *, steps=1):
  """{'ours': seconds of a step} and those of the others, all in turns.

  Args:
    program: ours, of `steps` steps.
    repeats: rounds after two others.
    others: name -> what runs one step and gives its seconds.
    steps: in a round.
  """
  runs = {'ours': lambda: _seconds(program.run) / steps} | {
      name: lambda run=run: statistics.mean(run() for _ in range(steps))
      for name, run in others.items()}
  rounds = [{name: run() for name, run in runs.items()}
            for _ in range(2 + repeats)][2:]
  return {name: [one[name] for one in rounds] for name in runs}


def _peer_of(peer, name):
  return {'peer': lambda: peer.run(name)} if peer else {}


def _onnx(parts, state, size):
  """What restores as `make_restore` does, by an ONNX file of the network."""
  from deblur_jax import export

  state = jax.tree.map(np.asarray, state)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'network.onnx')
    export.write(
        path, lambda blur: parts.method.restore(state, blur), kind='onnx')
    run = export.KINDS['onnx'].read(path)
  blur = np.asarray(jax.random.uniform(
      jax.random.key(0), (parts.mesh.size, *size, 3)))
  return lambda: _seconds(lambda: run(blur))


def _spread(seconds):
  if len(seconds) == 1:
    return dict.fromkeys(('median', 'p10', 'p90'), seconds[0])
  tenths = statistics.quantiles(seconds, n=10, method='inclusive')
  return {'median': statistics.median(seconds), 'p10': tenths[0],
          'p90': tenths[-1]}


def _count_fused(compiled):
  if jax.default_backend() != 'gpu':
    return None
  return compiled.as_text().count(FUSED)


PROGRAMS = {
    'restore': make_restore,  # first: training takes the state away
    'train': make_train,
}
