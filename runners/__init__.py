"""Where and when a job runs."""

import warnings

# Google's libraries announce at every start which Python they will not support next year.
warnings.filterwarnings("ignore", category=FutureWarning, module="google")
