"""Numbers of papers for single pictures, beside which our fits are shown.

The prior's of Set5 and of inpainting are measured on the pictures that the
authors ship. F16's is the best output of one fit, near step 1400, without
averages. Levin's are means over the four pictures with that kernel, of the run
of SelfDeblur that the authors of W-DIP ship.
"""

# Task -> {name of the picture: (what it is, PSNR in dB)}.
PICTURES = {
    'denoise': {'F16_GT': ('F16, 512x512, noise of 25', 30.59)},
    'sr': {
        f'img_{number:03}_SRF_4_HR': (f'{name}, factor 4', psnr)
        for number, (name, psnr) in enumerate((
            ('baby', 31.49), ('bird', 31.80), ('butterfly', 26.23),
            ('head', 31.04), ('woman', 28.93)), start=1)},
    'inpaint': {
        'kate': ('kate, text, 512x512', 38.98),
        'barbara': ('barbara, half of the pixels, 512x512', 32.18)},
    'blind': {
        f'im{image}_kernel{kernel}_img': (
            f"Levin's picture {image}, kernel {kernel}", psnr)
        for image in (1, 2) for kernel, psnr in enumerate((
            33.8, 33.36, 33.92, 31.85, 35.24, 33.88, 34.3, 29.66), start=1)},
}
