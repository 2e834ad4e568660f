"""The job on Google Cloud Dataflow: which machines, what is checked before it is sent, and how it goes."""
