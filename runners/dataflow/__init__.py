"""Jobs on Google Cloud Dataflow: machines, checks before the submission, and progress."""
