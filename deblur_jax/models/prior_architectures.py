"""The priors of the papers: keywords of `models.build`, by task.

The names of Deep Image Prior's are those of its figures or pictures. Its other
hyper-parameters, such as the learning rate and the noise on the code, belong to
the method.
"""

_SIX = (16, 32, 64, 128, 128, 128)

PRESETS = {
    # Deep Image Prior (Ulyanov et al. 2018)
    'denoise': dict(name='skip'),
    'jpeg': dict(
        name='skip', depth=3, down=(8, 16, 32, 64, 128), skip=(0, 0, 0, 4, 4)),
    'sr': dict(name='skip'),
    'inpaint_vase': dict(      # its code is the grid of coordinates
        name='skip', depth=2, skip=0, upsample='nearest'),
    'inpaint_kate': dict(name='skip', skip=128, upsample='nearest'),
    'inpaint_library': dict(
        name='skip', depth=1, down=_SIX, skip=0, down_size=5, mix=False,
        upsample='nearest'),
    'restore': dict(name='skip', channels=1),
    'restore_98': dict(
        name='skip', down=(16, 32, 64, 128, 128), skip=0, downsample='avg'),
    'feature_inversion': dict(
        name='skip', down=_SIX, down_size=(7, 7, 5, 5, 3, 3),
        up_size=(7, 7, 5, 5, 3, 3), downsample='avg', upsample='nearest',
        border='zero'),
    'activation_max': dict(
        name='skip', down=_SIX, skip=(0, 4, 4, 4, 4, 4),
        down_size=(5, 3, 5, 5, 3, 5), up_size=(5, 3, 5, 3, 5, 3),
        downsample='avg'),
    'flash': dict(             # its code is the picture with flash
        name='skip', depth=3,
        upsample=('nearest', 'nearest', 'bilinear', 'bilinear', 'bilinear')),
    # SelfDeblur (Ren et al. 2020)
    'selfdeblur': dict(
        name='skip', depth=8, channels=1, skip=16, attention=(2, 3, 4)),
    # Deep decoder (Heckel and Hand 2019)
    'deep_decoder_64': dict(name='deep_decoder', features=64),
    'deep_decoder_128': dict(name='deep_decoder', features=128),
    # For smaller and larger holes
    'unet_5': dict(name='unet_prior', num_layers=5),
    'unet_10': dict(name='unet_prior', num_layers=10),
}
