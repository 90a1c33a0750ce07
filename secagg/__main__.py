"""`python -m secagg` is the `secagg` command."""

from secagg.cli import main

main(prog_name="secagg")
