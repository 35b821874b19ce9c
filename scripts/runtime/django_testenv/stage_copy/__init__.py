"""Copy staging's database into a throw-away one: a Django app with `manage.py copy_stage_db`.

Which module calls which, from the command to the swap of the databases:

    management/commands/copy_stage_db.py  read the flags; turn errors into exit codes
    actions.py       carry out one command; before a copy ask guards.py, preflight.py and blockers.py
    transfer.py      lock the target; copy or clone (golden.py) into a new database beside it; swap the two
    engine.py        fill it from one snapshot: schema (schema.py, restore.py), then rows, then the rest
    trial.py         try the rules of "mask" on some rows, before all are moved
    sampling.py      choose the rows, if only a part is to come, by the keys in key_graph.py
    streams.py       queue the jobs in crew.py: rows (rows.py, wire.py), then indexes, then foreign keys
    swap.py          create, clone, drop and lock databases; exchange two by renames, with attributes.py

Only `apps.py`, `actions.py`, `forecast.py` and the command use Django; the other modules use only Postgres.
"""
