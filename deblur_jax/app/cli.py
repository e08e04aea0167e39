"""The command `deblur`. Slow imports are inside of the functions.

Exit codes: 0 all done, 1 some files failed, 2 a mistake of the user, with one
line on stderr, 130 interrupted.
"""

import json
import math
import os
import sys
from typing import Annotated

import typer
import typer.core

from deblur_jax import errors
from deblur_jax.app import large_pages, streams
from deblur_jax.pretrained import zoo


class Commands(typer.core.TyperGroup):
  """The group of commands, with a message on Ctrl-C."""

  def invoke(self, ctx):
    """Runs a command; Ctrl-C exits with 130."""
    try:
      return super().invoke(ctx)
    except KeyboardInterrupt:
      print('Stopped; finished files are kept.', file=sys.stderr)
      raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False,
    rich_markup_mode=None, pretty_exceptions_enable=False,
    context_settings={'help_option_names': ['-h', '--help']},
    help='Makes blurred photos and videos sharp: deblur photo.jpg')

Model = Annotated[str, typer.Option(
    '--model', '-m', help="A name of `deblur models`, the folder of a run, or "
    "MAXIM's weights: .npz, .safetensors or a folder of TensorFlow.js.")]
Out = Annotated[str | None, typer.Option(
    '--out', '-o', help='File or folder; - is stdout. By default in the folder '
    'of the input.')]
MaxPixels = Annotated[int | None, typer.Option(
    '--max-pixels', min=1, help='Larger pictures are refused; by default 200 '
    'million.')]
Overwrite = Annotated[bool, typer.Option(
    '--overwrite', help='Replace existing files.')]
Region = Annotated[list[str] | None, typer.Option(
    '--region', metavar='X,Y,W,H', help='Restore only this part, in pixels of '
    'the upright picture; may be repeated.')]
Strength = Annotated[float, typer.Option(
    help='From 0, the original picture, to 1, the restored one.')]
Json = Annotated[bool, typer.Option('--json', help='Print JSON.')]


def main(argv: list[str] | None = None) -> None:
  """Runs the program; `deblur photo.jpg` is `deblur restore photo.jpg`.

  Args:
    argv: the arguments; by default those of the process.
  """
  is_program = argv is None
  argv = sys.argv[1:] if is_program else argv
  streams.take()
  if is_program:
    errors.quieten_threads()
  try:
    argv = _with_command(argv)
    if is_program and argv[:1] in (['restore'], ['page']):
      large_pages.restart()
    try:
      app(argv)
    except SystemExit as ended:
      if ended.code in (0, None) and (lost := streams.lost()):
        print(f'error: The output could not be written: {lost.strerror}.',
              file=sys.stderr)
        sys.exit(1)
      raise
  except errors.UserError as error:
    message = streams.shown(' '.join(str(error).split()))
    print(f'error: {message}', file=sys.stderr)
    sys.exit(2)


def _with_command(argv):
  commands = {command.name or command.callback.__name__
              for command in app.registered_commands}
  if not argv or argv[0] in {*commands, '-h', '--help', '--version'}:
    return argv
  if argv[0] == '--':
    return ['restore', *argv]
  first, *others = argv
  is_there, is_name = os.path.exists(first), first == '-' or first[:1] != '-'
  near = errors.suggest(first, commands)
  if near and not is_there and first.isidentifier():
    raise errors.UserError(f'No command and no file {first!r}.{near}')
  if is_name or first.split('=')[0] in _options(restore):
    return ['restore', *argv]
  # A file whose name begins with a dash.
  return ['restore', os.path.join('.', first), *others] if is_there else argv


def _options(command):
  """The names of a command's options, with their dashes."""
  found = typer.main.get_command(app).commands[command.__name__]
  return {word for option in found.params for word in option.opts}


def _print_version(is_asked: bool) -> None:
  if not is_asked:
    return
  from importlib import metadata

  try:
    print(f'deblur {metadata.version("deblur-jax")}')
  except metadata.PackageNotFoundError:
    raise errors.UserError(
        'deblur-jax is not installed, so it has no version: pip install . in '
        'its folder.') from None
  raise typer.Exit


@app.callback()
def program(
    version: Annotated[bool, typer.Option(
        '--version', callback=_print_version, is_eager=True,
        help='Print the version.')] = False) -> None:
  """The options without a command."""


@app.command()
def restore(
    inputs: Annotated[list[str], typer.Argument(
        metavar='INPUT...', help='Photos, videos, folders; - is a photo on '
        'stdin.')],
    out: Out = None,
    model: Model = zoo.DEFAULT,
    region: Region = None,
    strength: Strength = 1.0,
    tile: Annotated[str, typer.Option(
        help='Side of tiles in pixels, auto, or 0 for one tile.'
    )] = 'auto',
    overlap: Annotated[int, typer.Option(
        help='Overlap of tiles, in pixels.')] = 64,
    ensemble: Annotated[bool, typer.Option(
        '--ensemble', help='Average over eight rotations and reflections: '
        'slightly better, eight times slower.')] = False,
    dtype: Annotated[str, typer.Option(
        help='float32, bfloat16, or auto: the faster one on this machine.'
    )] = 'auto',
    local: Annotated[int, typer.Option(
        min=0, help='Side of local windows, in pixels, for networks whose '
        'layers average over the picture (TLC); 0 is the choice of the model.'
    )] = 0,
    blur_threshold: Annotated[float | None, typer.Option(
        min=0, max=1, help='A photo with a lower blur effect (Crete et al. '
        "2007) looks sharp and is not changed; by default from the model's "
        'card, 0 for runs.')] = None,
    ext: Annotated[str | None, typer.Option(
        help='Suffix of results, such as png; by default that of the input.'
    )] = None,
    suffix: Annotated[str | None, typer.Option(
        help='Appended to the names of results; by default _deblurred in the '
        'folder of the input.')] = None,
    quality: Annotated[int | None, typer.Option(
        min=1, max=100, help='Quality of JPEG, WebP, AVIF and HEIC.')] = None,
    crf: Annotated[int | None, typer.Option(
        min=0, max=63, help='Constant rate factor of videos: a lower one is '
        'better and larger.')] = None,
    skip_existing: Annotated[bool, typer.Option(
        '--skip-existing', help='Skip inputs that have a result.')] = False,
    overwrite: Overwrite = False,
    strip_gps: Annotated[bool, typer.Option(
        '--strip-gps', help='Remove the place: from EXIF, with all XMP, IPTC '
        'and comments, and texts that name one; from videos with their data '
        'streams.')] = False,
    allow_truncated: Annotated[bool, typer.Option(
        '--allow-truncated', help='Read the intact part of broken files.'
    )] = False,
    first_frame: Annotated[bool, typer.Option(
        '--first-frame', help='Of animated pictures only the first frame.'
    )] = False,
    max_pixels: MaxPixels = None,
    runner: Annotated[str | None, typer.Option(
        metavar='WORDS', help='Restore on many machines by Apache Beam: the '
        "name of its runner and options of it, such as 'FlinkRunner "
        "--flink_master=HOST:PORT'.")] = None,
    as_json: Json = False) -> None:
  """Restores photos, videos and whole folders of them."""
  dtype = _dtype(dtype)    # before anything imports jax
  from deblur_jax.app import blending, console, restoring

  _check_json(as_json, out, *inputs)
  blend = blending.build(region, strength)
  network = restoring.Network(
      model, _tile(tile), overlap, ensemble, dtype, local,
      blur_threshold)
  written = restoring.Written(
      suffix, ext, quality, crf, strip_gps, overwrite, skip_existing,
      allow_truncated, first_frame=first_frame,
      **_given(max_pixels=max_pixels))
  outcomes = []

  def on_outcome(one):
    outcomes.append(one)
    if not as_json:
      console.outcome(one)

  try:
    with console.progress() as progress:
      _restore(inputs, runner, progress, out=out, network=network,
               written=written, blend=blend, on_outcome=on_outcome)
  finally:    # also after Ctrl-C
    if as_json and outcomes:
      print(json.dumps([one._asdict() for one in outcomes], indent=2))
  raise typer.Exit(_exit_code(outcomes, as_json))


def _restore(inputs, runner, progress, **options) -> None:
  """Restores on this machine, or by a runner of Beam."""
  if runner is not None:
    from deblur_jax.app import restoring_with_beam

    restoring_with_beam.run(inputs, runner=runner, **options)
    return
  from deblur_jax.app import restoring

  restoring.run(
      inputs, on_model=progress.on_model, on_estimate=progress.on_estimate,
      on_part=progress.on_part, **options)


def _exit_code(outcomes, as_json) -> int:
  """1 if a file failed; of several files, their number is printed."""
  failed = sum(bool(one.error) for one in outcomes)
  # An outcome without both counts the files that were passed over.
  files = sum(bool(one.error or one.target) for one in outcomes)
  if failed and files > 1 and not as_json:
    print(f'{failed} of {files} files failed.', file=sys.stderr)
  return 1 if failed else 0


@app.command()
def prior(
    photo: Annotated[str, typer.Argument(
        metavar='INPUT', help='A photo; - is stdin.')],
    task: Annotated[str, typer.Option(
        help='denoise, sr (super-resolution), inpaint or blind (deblurring).')],
    out: Out = None,
    mask: Annotated[str | None, typer.Option(
        help='For inpaint: a picture, white where the photo is good.')] = None,
    steps: Annotated[int, typer.Option(
        min=1, help='Greatest number of steps, rounded up to a multiple of '
        '10.')] = 1000,
    factor: Annotated[int | None, typer.Option(
        min=2, help='For sr: factor of enlargement.', show_default='2')] = None,
    kernel_size: Annotated[int | None, typer.Option(
        help='For blind: side of the kernel, odd, larger than the blur.',
        show_default='15')] = None,
    seed: Annotated[int, typer.Option(
        min=0, max=2**31 - 1, help='Seed of the random numbers.')] = 0,
    side: Annotated[int, typer.Option(
        min=16, help='Longest side of the result; larger photos are shrunk '
        'first. Memory and time grow with its square.')] = 512,
    overwrite: Overwrite = False,
    max_pixels: MaxPixels = None,
    as_json: Json = False) -> None:
  """Fits a network to one photo, without a model; takes minutes."""
  from deblur_jax.app import console, prior_fit

  _check_json(as_json, out, photo)
  with console.progress() as progress:
    outcome = prior_fit.run(
        photo, task=task, out=out, overwrite=overwrite, mask=mask, side=side,
        steps=steps, seed=seed, factor=factor, kernel_size=kernel_size,
        on_steps=lambda done, total: progress.on_part(photo, done, total),
        **_given(max_pixels=max_pixels))
  if as_json:
    print(json.dumps([outcome._asdict()], indent=2))
  else:
    console.outcome(outcome)


@app.command()
def page(
    model: Annotated[list[str] | None, typer.Option(
        '--model', '-m', help='A run, in addition to the bundled models; may '
        'be repeated.')] = None,
    runs: Annotated[str | None, typer.Option(
        help='Folder of runs whose curves are shown.')] = None,
    host: Annotated[str, typer.Option(
        help='Address of the page.')] = '127.0.0.1',
    port: Annotated[int, typer.Option(
        min=0, max=65535, help='Port of the page; 0 is a free one.')] = 7860
) -> None:
  """Serves a page with a before/after slider; by default only locally."""
  dtype = _dtype('auto')    # before anything imports jax
  from deblur_jax.app import page as served

  served.serve(model or (), host=host, port=port, runs=runs, dtype=dtype)


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help='A picture.')],
    after: Annotated[str, typer.Argument(help='The restored picture.')],
    out: Annotated[str, typer.Option(
        '--out', '-o', help='The picture to write.')] = 'sheet.png',
    overwrite: Overwrite = False, max_pixels: MaxPixels = None) -> None:
  """Draws two pictures side by side, whole and enlarged where they differ."""
  from deblur_jax.app import comparing

  comparing.run(before, after, out, overwrite=overwrite,
                **_given(max_pixels=max_pixels))
  print(out)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help='A model.')] = None,
    verify: Annotated[bool, typer.Option(
        '--verify', help='Check the SHA-256 of the weights.')] = False,
    as_json: Json = False) -> None:
  """Lists the bundled models, or describes one."""
  from deblur_jax.app import console

  cards, broken = {}, []
  for one in [name] if name else zoo.names():
    try:
      cards[one] = zoo.card(one)
      if verify:
        zoo.verify(one)
    except errors.UserError as error:
      cards.pop(one, None)
      broken.append(error)
  for error in broken:
    print(f'error: {error}', file=sys.stderr)
  if as_json:
    print(json.dumps(cards, indent=2))
  elif not zoo.names():
    print('No model is bundled; give -m the folder of a run.', file=sys.stderr)
  for one, card in ({} if as_json else cards).items():
    is_default = ' (the default)' if one == zoo.DEFAULT else ''
    seconds = card.get('seconds_720p')
    print(f'{one}{is_default}: {card["summary"]} {card["parameters"]:,} '
          'parameters' + (f', {seconds:g} s for 1280x720' if seconds else '')
          + f'{", verified" if verify else ""}.')
    if name:
      console.card(card)
  if broken:
    raise typer.Exit(2)


@app.command()
def convert(
    weights: Annotated[list[str], typer.Argument(
        metavar='FILE...', help=".pth, .safetensors or .npz of the papers' "
        'programs, or a folder of TensorFlow.js.')],
    out: Annotated[str, typer.Option(
        '--out', '-o', help='The new folder, for --model=FOLDER.')],
    layout: Annotated[str | None, typer.Option(
        help='The program, if the names in the files fit several: '
        'deepdeblur_pytorch, deblurgan, hieubkset_single_noskip, maxim, ...'
    )] = None,
    option: Annotated[list[str] | None, typer.Option(
        help='An option of the program that is not in the files, such as '
        'rgb_range=1.')] = None) -> None:
  """Makes a model from weights of other programs; runs no code in them."""
  from deblur_jax.app import convert_weights

  options = dict(map(errors.key_and_value, option or ()))
  print('\n'.join(convert_weights.run(
      weights, out, layout=layout, options=options)))
  print(f'\ndeblur restore photo.jpg --model={os.path.join(out, "")}')


@app.command()
def export(
    out: Annotated[str, typer.Option('--out', '-o', help='Folder.')],
    model: Model = zoo.DEFAULT,
    kind: Annotated[list[str] | None, typer.Option(
        help='onnx, stablehlo, saved_model, tflite or tflite_int8; may be '
        'repeated.', show_default='onnx')] = None,
    size: Annotated[list[str] | None, typer.Option(
        help='Width x height of a picture for the check, such as 640x480; may '
        'be repeated. The first one is timed and is the size of tflite files.'
    )] = None,
    overwrite: Overwrite = False, as_json: Json = False) -> None:
  """Exports a model to files for other programs; checks and times each."""
  from deblur_jax import export as exporting
  from deblur_jax.app import console

  sizes = [_size(word) for word in size or ()] or exporting.SIZES
  opened = zoo.load(model)
  rows = exporting.run(
      opened.exact or opened.method, opened.state, out=out,
      sizes=sizes, overwrite=overwrite, advice='--overwrite or another -o',
      on_row=lambda row: None if as_json else print(console.row(row),
                                                    flush=True),
      **_given(kinds=kind or None))
  if as_json:
    print(json.dumps([row._asdict() | {
        'path': str(row.path), 'errors': {
            f'{w}x{h}': error for (h, w), error in row.errors.items()},
        # JSON has no infinity, the PSNR of an exact file.
        'psnr': row.psnr if math.isfinite(row.psnr) else None}
        for row in rows], indent=2, allow_nan=False))
  wrong = [row for row in rows
           if not (exporting.KINDS[row.kind].int8 or row.agrees())]
  for row in wrong:
    print(f'error: The results of {row.path} differ from those of the network '
          f'by more than {exporting.TOLERANCE:g}.', file=sys.stderr)
  raise typer.Exit(1 if wrong else 0)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option(
        '--clear', help='Delete its files.')] = False,
    as_json: Json = False) -> None:
  """Shows the cache of programs and rendered pictures, or clears it.

  With the cache the next call does not compile again. DEBLUR_CACHE=FOLDER
  moves it; DEBLUR_CACHE=off turns it off.
  """
  from deblur_jax.inference import cache_folder

  deleted = cache_folder.clear() if clear else 0
  facts = cache_folder.facts()
  if as_json:
    print(json.dumps(facts._asdict() | {'deleted': deleted}, indent=2))
    return
  if clear:
    print(f'{deleted} files deleted.')
  print(facts.line())


@app.command()
def doctor(as_json: Json = False) -> None:
  """Shows versions, devices and missing packages; runs a network once."""
  from deblur_jax.app import doctor as examination

  findings = examination.examine()
  if as_json:
    print(json.dumps([finding._asdict() for finding in findings], indent=2))
  else:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
      print(f'{"ok " if finding.fine else "BAD"} {finding.name:{width}} '
            f'{finding.result}')
  raise typer.Exit(0 if all(finding.fine for finding in findings) else 1)


def _given(**options):
  """The options that were given; the others have defaults in signatures."""
  return {name: value for name, value in options.items() if value is not None}


def _check_json(as_json, *paths):
  if as_json and '-' in paths:
    raise errors.UserError('--json and - both use stdout: leave one out.')


def _tile(word: str) -> int | None:
  if word == 'auto':
    return None
  if not word.isdecimal():
    raise errors.UserError(f'--tile={word}: write auto, 0, or pixels.')
  return int(word)


def _size(word: str) -> tuple[int, int]:
  """'640x480' as (height, width)."""
  sides = word.lower().split('x')
  if len(sides) != 2 or not all(side.isdecimal() for side in sides):
    raise errors.UserError(f'--size={word}: write --size=640x480.')
  return int(sides[1]), int(sides[0])


def _dtype(word: str | None) -> str | None:
  """The dtype by its name or short name."""
  names = {'auto': 'auto', 'bf16': 'bfloat16', 'bfloat16': 'bfloat16',
           'fp32': 'float32', 'float32': 'float32'}
  dtype = word and errors.look_up(names, word, what='--dtype')
  if dtype in ('auto', 'bfloat16') and 'jax' not in sys.modules:
    from deblur_jax.ops import precision

    precision.ask_for_onednn()    # before jax reads XLA_FLAGS
  return dtype
