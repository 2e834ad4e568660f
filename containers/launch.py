"""What the Flex Template's launcher runs, with parameters for words."""

import sys

from runners.cloud import flex

sys.exit(flex.main(sys.argv[1:]))
