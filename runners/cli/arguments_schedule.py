"""The words of ``beamsight schedule``: when, where, and with whose rights."""

from __future__ import annotations

import argparse

_NAME = "beamsight"


def add_schedule(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``schedule``. What ``create`` and ``print`` do not know is for ``nightly``."""
    schedule = commands.add_parser(
        "schedule",
        help="have it done each night, by Cloud Scheduler, cron or systemd",
        description="Have it done each night: in the cloud by Cloud Scheduler, or on this machine by cron or systemd.",
        allow_abbrev=False,
    )
    actions = schedule.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_create(actions)
    for name, what in (("show", "say what a schedule of the cloud launches, and when"), ("delete", "delete it")):
        action = actions.add_parser(name, help=what, description=f"{what.capitalize()}.", allow_abbrev=False)
        action.add_argument("--project", required=True, metavar="ID", help="the Google Cloud project")
        action.add_argument("--location", "--region", required=True, metavar="NAME", help="where the schedule is")
        _add_name(action)
        _add_endpoint(action)
    _add_print(actions)


def _add_create(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    create = actions.add_parser(
        "create",
        help="have Cloud Scheduler launch the Flex Template; again, and the schedule is updated",
        description="Have Cloud Scheduler launch the Flex Template. All other options are those of `beamsight "
        "nightly`, also from a file; the days in --images are filled in when the job starts.",
        allow_abbrev=False,
    )
    add = create.add_argument
    add("--template", required=True, metavar="gs://FILE", help="the Flex Template, which containers/build.sh makes")
    _add_times(create)
    _add_name(create)
    add(
        "--launch-as",
        metavar="EMAIL",
        help="the service account that launches, with the role Dataflow Developer and, on the account of the workers, "
        "Service Account User (default: --service-account)",
    )
    add("--location", metavar="NAME", help="of the schedule, where Cloud Scheduler is not in --region")
    add("--retries", type=int, default=3, metavar="N", help="launches after one that failed (default: %(default)s)")
    add(
        "--retry-wait",
        type=int,
        default=60,
        metavar="SECONDS",
        help="before the first of them, doubled each time (default: %(default)s)",
    )
    add(
        "--attempt-deadline",
        type=int,
        default=180,
        metavar="SECONDS",
        help="how long Dataflow may take to answer (default: %(default)s)",
    )
    add("--dry-run", action="store_true", help="say what would be made, and make nothing")
    _add_endpoint(create)


def _add_print(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    printed = actions.add_parser(
        "print",
        help="`beamsight nightly` as lines for this machine's crontab, or as units of systemd",
        description="Print `beamsight nightly` for this machine's timer, to run in this folder. All other options are "
        "those of `beamsight nightly`, and are checked.",
        allow_abbrev=False,
    )
    kind = printed.add_mutually_exclusive_group(required=True)
    kind.add_argument("--cron", dest="kind", action="store_const", const="cron", help="lines for `crontab -e`")
    kind.add_argument("--systemd", dest="kind", action="store_const", const="systemd", help="a service and its timer")
    _add_times(printed)
    _add_name(printed)
    printed.add_argument("--log", metavar="FILE", help="what is said goes to its end (default: NAME.log)")


def _add_times(parser: argparse.ArgumentParser) -> None:
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--at", metavar="HH:MM", help="each day at this time, such as 02:30")
    when.add_argument("--times", metavar="FIELDS", help="the five fields of cron, such as '30 2 * * mon-fri'")
    parser.add_argument(
        "--time-zone",
        metavar="NAME",
        help="of the times and of the day, such as Europe/Berlin (default: that of the file of options, or UTC)",
    )


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=_NAME, metavar="NAME", help="of the schedule (default: %(default)s)")


def _add_endpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scheduler-endpoint", metavar="URL", help="another server than Google's, for tests")
