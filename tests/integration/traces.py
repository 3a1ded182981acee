"""The recorded traces: what each row of a file must be in a store, said in SQL over the file.

It shares nothing with the mappings of the player. A file without a clock has one row every `step`
seconds from 2024 on; `row` counts its rows from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.programs import SHARED

DATA = SHARED / "data"
EPOCH_2024 = 1_704_067_200_000_000  # microseconds
Columns = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Trace:
    """Files of one shape.

    Args:
        files: a pattern below DATA.
        topic: where their events go, without prefix.
        rows: which rows of a store are theirs; `{stem}` is the file's name.
        columns: by field (`attributes.k` is a key of a map): SQL over the file, and its type.
    """

    files: str
    topic: str
    rows: str
    columns: Columns

    def paths(self) -> Iterator[Path]:
        """The files that are there."""
        yield from sorted(DATA.glob(self.files))


def _utc(column: str) -> tuple[str, str]:
    return f"epoch_us({column})", "BIGINT"


def _made_up(step: int) -> tuple[str, str]:
    return f"{EPOCH_2024} + (row - 1) * {step * 1_000_000}", "BIGINT"


def _nano(column: str) -> tuple[str, str]:
    return f"CAST({column} AS DECIMAL(28, 9)) * 1000000000", "BIGINT"


def _of(kind: str, **columns: str) -> Columns:
    return {field.replace("__", "."): (column, kind) for field, column in columns.items()}


def _azure(kind: str) -> Trace:
    return Trace(
        f"llm/azure_llm_2023_{kind}.parquet", "events.llm", f"source = 'azure-llm-{kind}'",
        {"time": _utc('"TIMESTAMP"')}
        | _of("BIGINT", input_tokens='"ContextTokens"', output_tokens='"GeneratedTokens"'),
    )  # fmt: skip


TRACES = (
    _azure("conv"),
    _azure("code"),
    Trace(
        "llm/mooncake_conversation.parquet", "events.llm", "source = 'mooncake'",
        {"time": (f'{EPOCH_2024} + "timestamp" * 1000', "BIGINT")}
        | _of("BIGINT", input_tokens="input_length", output_tokens="output_length"),
    ),
    Trace(
        "trading/spy_trade_ticks_20131007_11.parquet", "events.trade", "source = 'algoseek'",
        {"time": _utc("timezone('America/New_York', ts_new_york)"), "price": _nano("price")}
        | _of("DOUBLE", quantity="size")
        | _of("VARCHAR", attributes__exchange="exchange",
              attributes__sale_condition="sale_condition", attributes__suspicious="suspicious"),
    ),
    Trace(
        "trading/crypto_ohlcv_lean.parquet", "events.trade", "type = 'trade.signal'",
        {"time": _utc("ts_utc"), "price": _nano("close")}
        | _of("DOUBLE", quantity="volume", attributes__open="open", attributes__high="high",
              attributes__low="low")
        | _of("VARCHAR", source="market", subject="market || ':' || symbol", symbol="symbol",
              attributes__kind="kind", attributes__resolution="resolution"),
    ),
    Trace(
        "agents/who_and_when.parquet", "events.debate", "source = 'who-and-when'",
        {"time": _made_up(5)}
        | _of("BIGINT", turn="step", chars="length(content)")
        | _of("VARCHAR", session_id="source || '-' || log_id", agent="coalesce(name, role)",
              text_hash="sha256(content)", attributes__mistake_agent="mistake_agent",
              attributes__mistake_step="mistake_step", attributes__level="level"),
    ),
    Trace(
        "agents/tau_bench_gpt4o_airline.parquet", "events.chat", "source = 'tau-bench'",
        {"time": _made_up(5)}
        | _of("BIGINT", chars="length(content)", attributes__turn="turn")
        | _of("DOUBLE", attributes__reward="reward")
        | _of("VARCHAR", session_id="'airline-' || task_id || '-' || trial", role="role",
              attributes__tool="tool_name"),
    ),
    Trace(
        "agents/swe_agent_demos.parquet", "events.graph", "source = 'swe-agent'",
        {"time": _made_up(20)}
        | _of("BIGINT", duration="round(execution_time_s * 1000000)", attributes__step="step")
        | _of("VARCHAR", session_id="trajectory", node=r"nullif(regexp_extract(action, '\S+'), '')",
              attributes__exit_status="exit_status"),
    ),
    Trace(
        "web/apache_access_201505.parquet", "events.ui", "source = 'apache'",
        {"time": _utc("ts_utc")}
        | _of("BIGINT", attributes__status="status")
        | _of("DOUBLE", attributes__bytes="bytes")
        | _of("VARCHAR", subject="client", page="path", action="method", client="user_agent"),
    ),
    Trace(
        "training/rl_episodes.parquet", "events.evolution", "source = 'rl-trained-agents'",
        {"time": ("epoch_ns(ts_utc) // 1000", "BIGINT")}
        | _of("DOUBLE", performance_score="episode_reward", kpis__episode_reward="episode_reward",
              kpis__episode_length="episode_length")
        | _of("VARCHAR", agent="algo || '-' || env || '-' || worker", strategy="algo",
              evolution_id="algo || '-' || env"),
    ),
    Trace(
        "training/es_generations.parquet", "events.evolution", "source = 'estool'",
        {"time": (f"{EPOCH_2024} + elapsed_s * 1000000", "BIGINT")}
        | _of("DOUBLE", performance_score="avg_reward", kpis__min_reward="min_reward",
              kpis__max_reward="max_reward", kpis__std_reward="std_reward",
              kpis__sigma_rms="sigma_rms", kpis__mean_steps="mean_steps")
        | _of("VARCHAR", agent="run", attributes__generation="generation"),
    ),
    Trace(
        "nab/*/[!c]*.csv", "events.evolution", "source = 'nab' AND agent = '{stem}'",
        {"time": _utc('"timestamp"')}
        | _of("DOUBLE", performance_score="value", kpis__value="value"),
    ),
    Trace(
        "nab/*/cpu_utilization_*.csv", "events.system", "source = 'nab' AND component = '{stem}'",
        {"time": _utc('"timestamp"')} | _of("DOUBLE", cpu_percent="value"),
    ),
)  # fmt: skip
