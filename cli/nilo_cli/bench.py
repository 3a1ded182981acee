"""`nilo bench`: the benchmarks of a checkout, run as a program of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from nilo_cli.bench_run import bench, given
from nilo_cli.errors import UsageError

HOT_QUICK, TRANSPORTS_QUICK, KILLS_QUICK = 20_000, 200_000, 3
app = typer.Typer(
    help="Measure this machine, from a checkout. Exits with 1 when a goal is missed.",
    no_args_is_help=True,
)
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON object; the default when piped.", show_default=False),
]
Quick = Annotated[bool, typer.Option("--quick", help="A short form; goals may be missed by it.")]
Events = Annotated[int | None, typer.Option(min=1, help="How many.", show_default=False)]
Many = Annotated[
    int | None, typer.Option("--events", min=10_000, help="In the main topic.", show_default=False)
]
Rounds = Annotated[int | None, typer.Option(min=1, help="Turns.", show_default=False)]


@app.command()
def engine(
    ctx: typer.Context,
    *,
    quick: Quick = False,
    events: Many = None,
    rounds: Rounds = None,
    as_json: Json = False,
) -> None:
    """Measure the processors on a real broker.

    Beside raw librdkafka and stock Faust on the same events; then with many series, over many
    events, and after SIGKILL. Every window is compared with what it must hold. Ten minutes; a
    broker of its own, unless the environment names one.

    \b
    Example:
      nilo bench engine
      nilo bench engine --quick --json
    """
    bench(ctx, "tests.bench.engine", given(quick=quick, events=events, rounds=rounds), as_json)


@app.command()
def sinks(
    ctx: typer.Context,
    *,
    quick: Quick = False,
    events: Many = None,
    rounds: Rounds = None,
    without_quix: Annotated[
        bool, typer.Option("--without-quix", help="Leave out Quix Streams, and PyPI.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure the sinks of PostgreSQL and Parquet.

    Beside a bare COPY, a bare Parquet file and Quix Streams' sinks; then their memory over many
    events. What was stored is counted. Quix Streams comes from PyPI at the first run, into an
    environment of its own in the user's cache, made by uv. Ten minutes; servers of its own, unless
    the environment names some.

    \b
    Example:
      nilo bench sinks
      nilo bench sinks --quick --without-quix --json
    """
    options = given(quick=quick, events=events, rounds=rounds, without_quix=without_quix)
    bench(ctx, "tests.bench.sinks", options, as_json)


@app.command()
def replay(
    ctx: typer.Context,
    *,
    quick: Quick = False,
    events: Many = None,
    rounds: Rounds = None,
    as_json: Json = False,
) -> None:
    """Measure replays on a real broker.

    Beside the live processors and raw librdkafka on the same events; then out of the lake and the
    archive, by two processes, and over many events. Every window is compared with what it must
    hold. Six minutes; a broker of its own, unless the environment names one.

    \b
    Example:
      nilo bench replay
      nilo bench replay --quick --json
    """
    bench(ctx, "tests.bench.replay", given(quick=quick, events=events, rounds=rounds), as_json)


@app.command()
def transports(
    ctx: typer.Context, *, quick: Quick = False, events: Events = None, as_json: Json = False
) -> None:
    """Measure the ways to bring messages into Faust.

    \b
    Example:
      nilo bench transports --quick
    """
    events = events or (TRANSPORTS_QUICK if quick else None)
    bench(ctx, "tests.bench.transports", given(events=events), as_json)


@app.command()
def chaos(
    ctx: typer.Context,
    *,
    quick: Annotated[bool, typer.Option("--quick", help=f"{KILLS_QUICK} kills.")] = False,
    kills: Annotated[int, typer.Option(min=1, help="SIGKILLs of workers.")] = 10,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Of a round's stream.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="At the start of a round.", show_default=False)
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=1, help="Events per second.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of all faults; told at the start.", show_default=False)
    ] = None,
    sinks: Annotated[bool, typer.Option("--sinks", help="Kill sinks, not workers.")] = False,
    as_json: Json = False,
) -> None:
    """Kill, stop and restart under load; count differences.

    Workers and the broker, at random moments. When the stream has ended, every window must be as
    a plain reference computes it from the events. With --sinks the sinks of PostgreSQL, the lake
    and SQLite are killed, the database and the broker are away for a while, and the ledger of
    `nilo audit reconcile` must be clean.

    \b
    Example:
      nilo bench chaos --kills 100
      nilo bench chaos --sinks --kills 50
      nilo bench chaos --quick --seed 7
    """
    asked = given(
        kills=KILLS_QUICK if quick else kills,
        seconds=seconds,
        workers=workers,
        rate=rate,
        seed=seed,
    )
    if sinks and (seconds, workers) != (None, None):
        raise UsageError("--seconds and --workers are for the processors' chaos, not for --sinks")
    bench(ctx, "tests.chaos.sinks" if sinks else "tests.chaos.run", asked, as_json)


@app.command()
def incidents(
    ctx: typer.Context,
    *,
    quick: Quick = False,
    seed: Annotated[
        int | None, typer.Option(help="Of all that is random.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Inject incidents and count what the rules find.

    A thousand of them, of known place, kind and size, in the events of five weeks: how many are
    found, after how many windows, how often there is a false alarm, and whether the evidence of
    each alert holds an event of its incident. No broker; some minutes.

    \b
    Example:
      nilo bench incidents
      nilo bench incidents --quick --seed 7
    """
    bench(ctx, "tests.bench.incidents", given(quick=quick, seed=seed), as_json)


@app.command()
def hot(
    ctx: typer.Context, *, quick: Quick = False, events: Events = None, as_json: Json = False
) -> None:
    """Measure the hot paths of one process, no broker.

    \b
    Example:
      nilo bench hot
    """
    events = events or (HOT_QUICK if quick else None)
    bench(ctx, "tests.bench.run", given(events=events), as_json)


@app.command()
def anomaly(ctx: typer.Context, *, quick: Quick = False, as_json: Json = False) -> None:
    """Measure the detector of anomalies, no broker.

    On files of the Numenta Anomaly Benchmark, which lie in the shared folder beside the checkout,
    and on made-up series with disturbances of known size.

    \b
    Example:
      nilo bench anomaly
      nilo bench anomaly --quick --json
    """
    bench(ctx, "tests.bench.anomaly", given(quick=quick), as_json)
