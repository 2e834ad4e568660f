"""What Dataflow's launcher calls to make a Flex Template's job: ``submit`` or ``nightly``, said with parameters."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from runners.cli import app, arguments
from runners.jobs import beam_options
from runners.template import parameters
from transforms.errors import UsageError


def main(given: Sequence[str]) -> int:
    """``--name=value`` as the launcher gives them -> the exit code of ``beamsight submit``.

    Where the parameters name days it is ``beamsight nightly``: the launch of a schedule is the same each time, and its
    day is worked out here.

    Workers run the image that stands in $BEAMSIGHT_IMAGE, beside which the launcher's own was built, unless the
    parameter container_image names another. Options that nobody here knows are the launcher's own, as a launch with an
    unknown parameter is refused before; they are named and left out.
    """
    try:
        words = parameters.words(given)
        command = ["nightly", f"--runner={beam_options.DATAFLOW}"] if parameters.of_a_night(words) else ["submit"]
        strange = beam_options.unknown(arguments.parser().parse_known_args([*command, *words])[1])
    except UsageError as error:
        print(f"beamsight: {error}", file=sys.stderr)
        return app.WRONG_USE
    if strange:
        print(f"beamsight: passed over {' '.join(strange)}, which neither beamsight nor Beam knows", file=sys.stderr)
        words = [word for word in words if word not in strange]
    image = os.environ.get("BEAMSIGHT_IMAGE")
    if image and not any(word.startswith("--container-image=") for word in words):
        words.append(f"--container-image={image}")
    return app.main([*command, *words])
