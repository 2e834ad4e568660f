"""What Dataflow's launcher calls to make the job of a Flex Template: ``beamsight submit``, said with parameters."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from runners import cli
from runners.cloud import template
from transforms.errors import UsageError


def main(parameters: Sequence[str]) -> int:
    """``--name=value`` as the launcher gives them -> the exit code of ``beamsight submit``.

    Workers run the image that stands in $BEAMSIGHT_IMAGE, beside which the launcher's own was built, unless the
    parameter container_image names another.
    """
    try:
        words = template.words(parameters)
    except UsageError as error:
        print(f"beamsight: {error}", file=sys.stderr)
        return cli.WRONG_USE
    image = os.environ.get("BEAMSIGHT_IMAGE")
    if image and not any(word.startswith("--container-image=") for word in words):
        words.append(f"--container-image={image}")
    return cli.main(["submit", *words])
