"""A project that starts in a tenth of a second, for tests of the tasks that do not look at Django's pages.

Its copy of staging is the real one, of what little staging has; `migrate` and `collectstatic` do nothing, and
what is served is the commit. A branch whose file demo/pause.txt says so takes that many seconds to migrate.
"""

from __future__ import annotations

MANAGE = """import os
import sys

if sys.argv[1] in {"copy_stage_db", "reset_db"}:
    os.environ["DJANGO_SETTINGS_MODULE"] = "demo.light"
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
elif sys.argv[1] == "fill_stage":
    os.environ["DJANGO_SETTINGS_MODULE"] = "demo.light"
    import django
    from django.db import connection

    django.setup()
    connection.cursor().execute("CREATE TABLE shop_product (id int PRIMARY KEY, name text); "
                                "INSERT INTO shop_product VALUES (1, 'one')")
elif sys.argv[1] == "migrate":
    from pathlib import Path
    from time import sleep

    pause = Path("demo/pause.txt")
    sleep(float(pause.read_text()) if pause.exists() else 0)
else:
    print("1 static files copied.")
"""
SETTINGS = """from demo.settings import *

INSTALLED_APPS = ["django_extensions", "django_testenv.stage_copy"]
ROOT_URLCONF = "demo.light"
urlpatterns = []
STAGE_COPY = {"golden": {"max_age": "24h"}}
"""
WSGI = """from pathlib import Path

FILE = Path(__file__).parent.parent / "deployment.json"
DEPLOYMENT = FILE.read_bytes() if FILE.exists() else b"{}"


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [DEPLOYMENT]
"""
FILES = {"manage.py": MANAGE, "demo/light.py": SETTINGS, "demo/wsgi.py": WSGI}
