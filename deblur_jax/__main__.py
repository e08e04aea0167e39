"""`python -m deblur_jax` is `deblur`."""

from deblur_jax.app import cli

if __name__ == '__main__':
  cli.main()
