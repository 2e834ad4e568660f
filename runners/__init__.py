"""Where and when it runs: the command line."""

import warnings

# Google's libraries announce at every start which Python they will leave behind next year.
warnings.filterwarnings("ignore", category=FutureWarning, module="google")
