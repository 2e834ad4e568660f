"""Exit codes of the command."""

DONE, TOO_MANY_FAILURES, WRONG_USE, RUN_FAILED, LOCKED, TOO_FEW_IMAGES = 0, 1, 2, 3, 4, 5
INTERRUPTED, TERMINATED = 130, 143

NOTE = (
    "exit codes: 0 done; 1 done, but too many images failed; 2 wrong use; 3 run failed; 4 another run works on the\n"
    "output; 5 done, but fewer images than expected; 130 interrupted (Ctrl-C); 143 terminated (SIGTERM)"
)
