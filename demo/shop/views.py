"""The front page, the same facts as JSON, and the health check."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from . import facts

if TYPE_CHECKING:
    from django.http import HttpRequest


@require_safe
@never_cache
def front_page(request: HttpRequest) -> HttpResponse:
    data = facts.data()
    largest = max(data.rows.values(), default=0) if data else 0
    tables = (
        []
        if data is None
        else [
            {
                "name": data.names[table],
                "rows": rows,
                "share": math.ceil(100 * rows / largest) if largest else 0,
            }
            for table, rows in data.rows.items()
        ]
    )
    context = {
        "deployment": facts.deployment(),
        "data": data,
        "tables": tables,
        "total": sum(data.rows.values()) if data else None,
        "visits": facts.count_visit(),
    }
    return render(request, "shop/front_page.html", context)


@require_safe
@never_cache
def status(_request: HttpRequest) -> JsonResponse:
    deployment, data = facts.deployment(), facts.data()
    return JsonResponse(
        {
            "branch": deployment.branch,
            "commit": deployment.commit,
            "rows": data.rows if data else None,
            "data_copied_at": data.copied_at.isoformat() if data and data.copied_at else None,
            "counter": facts.visits(),
            "migrations": data.migrations if data else None,
        }
    )


@require_safe
@never_cache
def healthz(_request: HttpRequest) -> HttpResponse:
    """Return 200 if database and Redis answer, else 503 with only the names of those that do not."""
    missing = [
        name
        for name, answers in (("database", facts.database_answers), ("redis", facts.redis_answers))
        if not answers()
    ]
    if not missing:
        return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")
    reason = f"unreachable: {', '.join(missing)}"  # Django logs it
    return HttpResponse(f"{reason}\n", status=503, reason=reason, content_type="text/plain; charset=utf-8")
