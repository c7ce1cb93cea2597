"""The account of a run, for people. Goes to stdout."""

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from headrace.client.answers import Outcomes
from headrace.client.plan import Plan, Skipped
from headrace.client.progress import megabytes
from headrace.client.summary import Account, EntityAccount, TenantAccount

_FAILURES_SHOWN = 20
_OUTCOMES = Outcomes.__struct_fields__
#: Shown even where they are nought: what came in, and what did not get through.
_ALWAYS = frozenset({"inserted", "rejected", "parked"})
_PIPE_WIDTH = 160


def console() -> Console:
    """Stdout; wide where it is no terminal, so that no figure is cut."""
    out = Console(highlight=False, markup=False)
    return out if out.is_terminal else Console(highlight=False, markup=False, width=_PIPE_WIDTH)


def show_plan(plan: Plan) -> None:
    """Every file that would be sent, in order."""
    out = console()
    for tenant in plan.tenants:
        table = _table(_title(tenant.name, tenant.tenant_id), "#", "file", "entity", "bytes")
        for number, file in enumerate(tenant.files, 1):
            table.add_row(str(number), file.name, file.entity, f"{file.size:,}")
        out.print(table)
    total = sum(file.size for file in plan.files)
    out.print(f"{len(plan.files)} files, {megabytes(total)} would be sent; nothing was.")


def show_account(account: Account) -> None:
    """Every tenant's figures, what went wrong and what to do about it, and the sum."""
    out = console()
    for tenant in account.tenants:
        out.print(_entity_table(tenant))
        for line in _remarks(tenant):
            out.print(line, soft_wrap=True)
    out.print(_closing(account), soft_wrap=True)


def skipped_lines(skipped: tuple[Skipped, ...]) -> list[str]:
    """A line for each file that is named like data and was left out."""
    return [f"SKIPPED {one.filename}: {one.reason}" for one in skipped]


def _entity_table(tenant: TenantAccount) -> Table:
    columns = [name for name in _OUTCOMES if name in _ALWAYS or _count(tenant.totals, name)]
    title = _title(tenant.name, tenant.tenant_id)
    if tenant.totals.outcomes is None:
        columns = []
    head = ["lines", *columns, "sum"] if columns else []
    table = _table(title, "entity", "files", "bytes", *head)
    rows = [*tenant.entities.items(), ("total", tenant.totals)]
    for name, entity in rows:
        table.add_row(name, f"{entity.files:,}", f"{entity.bytes:,}", *_cells(entity, columns))
    return table


def _cells(entity: EntityAccount, columns: list[str]) -> list[str]:
    if not columns:
        return []
    if entity.outcomes is None:
        return ["-"] * (len(columns) + 2)
    sum_is = "= lines" if entity.balanced else f"{entity.outcomes.total:,} ≠ lines"
    return [
        f"{entity.lines_received:,}",
        *(f"{_count(entity, name):,}" for name in columns),
        sum_is,
    ]


def _count(entity: EntityAccount, outcome: str) -> int:
    return getattr(entity.outcomes, outcome, 0)


def _remarks(tenant: TenantAccount) -> list[str]:
    files = tenant.files
    lines = [
        f"upload {tenant.upload_token or '(none)'}: {tenant.status or 'not waited for'}; "
        f"{files.sent} files sent, {files.already_accepted} accepted before, of {files.found}"
    ]
    lines += _failed(tenant)
    outcomes = tenant.totals.outcomes
    if outcomes and outcomes.rejected:
        codes = ", ".join(f"{code} {count:,}" for code, count in tenant.reject_codes.items())
        lines.append(f"{outcomes.rejected:,} lines rejected: {codes}")
        lines.append(f'  see each: curl -H "X-API-Key: $API_KEY" {tenant.rejects_url}')
        lines += [f"  to mend and send again: {path}" for path in tenant.rejects_files]
    if tenant.level_mismatches:
        lines.append(f"{tenant.level_mismatches:,} stock events claim another level than ours:")
        lines.append("  they landed; GET /stock/events?mismatch=true shows both levels")
    if outcomes and outcomes.parked:
        lines.append(f"{outcomes.parked:,} lines parked ({_parked_in(tenant)}):")
        lines.append("  the row they refer to is unknown; they land by themselves when it arrives")
    if tenant.totals.balanced is False:
        lines.append("the outcomes do not sum to the lines received; please report this")
    return lines


def _failed(tenant: TenantAccount) -> list[str]:
    shown = tenant.failed_files[:_FAILURES_SHOWN]
    lines = [f"FAILED {one.filename or 'upload'}: {one.code}: {one.message}" for one in shown]
    more = len(tenant.failed_files) - len(shown)
    return lines + ([f"FAILED {more} more; --json lists them"] if more else [])


def _parked_in(tenant: TenantAccount) -> str:
    counts = {name: _count(entity, "parked") for name, entity in tenant.entities.items()}
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)


def _closing(account: Account) -> str:
    totals = account.totals
    size = f"{totals.files} files, {megabytes(totals.bytes)}"
    if totals.lines_received is None:
        hint = "" if account.waited else "; --wait-for-completion accounts for every line"
        return f"{size} in {account.seconds:.1f} s{hint}"
    return (
        f"{size}, {totals.lines_received:,} lines in {account.seconds:.1f} s: "
        f"{account.rows_per_second:,.0f} rows/s"
    )


def _title(name: str, tenant_id: str) -> str:
    return f"{name} ({tenant_id})" if name else tenant_id


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE, title_style="bold")
    for name in columns:
        words = name in ("file", "entity")
        table.add_column(name, justify="left" if words else "right", overflow="fold")
    return table
