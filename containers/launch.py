"""Run the launcher of the Flex Template with the parameters that Dataflow passes."""

import sys

from runners.cli import launcher

sys.exit(launcher.main(sys.argv[1:]))
