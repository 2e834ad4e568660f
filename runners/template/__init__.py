"""Launched by others: the Flex Template, Cloud Scheduler, cron and systemd."""
