"""What the Flex Template's launcher runs, with parameters for words."""

import sys

from runners.cli import launcher

sys.exit(launcher.main(sys.argv[1:]))
