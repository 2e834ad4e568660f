"""The program of the Flex Template: ``submit`` or ``nightly``, with parameters in place of options."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from runners.cli import app, nightly, submit
from runners.cli.parser import Parsed
from runners.jobs import beam_options
from runners.template import parameters


def main(given: Sequence[str]) -> int:
    """Run the job of a launch. Returns the exit code of the command.

    Parameters that name days are for ``nightly``: the launch of a schedule is the same every night, so its day is
    worked out here. The workers run the image in $BEAMSIGHT_IMAGE unless the parameter container_image names another.
    Unknown parameters are the launcher's own, since a launch with a wrong one is refused before; they are named and
    left out.
    """
    return app.execute(lambda: _parse(given), verbose=False)


def _parse(given: Sequence[str]) -> Parsed:
    values, beam = parameters.parse(given)
    if unknown := beam_options.unknown(beam):
        print(f"beamsight: ignored {' '.join(unknown)}, which neither beamsight nor Beam has", file=sys.stderr)
        beam = [word for word in beam if word not in unknown]
    if image := os.environ.get("BEAMSIGHT_IMAGE"):
        values.setdefault("container_image", image)
    if parameters.is_night(values):
        return Parsed(nightly.COMMAND, values, [f"--runner={beam_options.DATAFLOW}", *beam])
    return Parsed(submit.COMMAND, values, beam)
