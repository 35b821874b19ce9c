"""Wrong and hostile names of environments, settings, marks, stacks, containers and databases."""

from __future__ import annotations

from copilot_testenv.copilot import disposable
from tests.fakes import made

# Names of environments that stand, with manifest and block, in the workspace.
PROTECTED_NAMES = [
    "production", "prod", "live", "stage", "staging", "Production", "PROD", "pRoD", " production", "stage ",
    "s t a g e", "production\t", "production-eu", "prod-eu", "prod2", "live2", "staging2", "stage-1", "uat",
    "uat-2", "prd", "preprod", "pre-prod", "pre_prod", "stg", "stg-us", "eu-prod", "my-live",
    "shop-production", "euprod", "eu1prod", "nonprod", "main", "master", "pr0d", "l1ve", "st4ging",
    "pr0duction-2", "p-r-o-d", "pro-duction", "products", "livestream-test", "prod_test", "_prod", "prod.eu",
    "\u0440rod",  # a Cyrillic er
    "pr\u043eduction",
    "\u0455t\u0430g\u0435",
    "\u03c1rod",  # a Greek rho
    "\uff50\uff52\uff4f\uff44",  # full-width
    "\U0001d429\U0001d42b\U0001d428\U0001d41d",  # mathematical letters
    "pro\u200bduction", "\ufeffprod", "pro\u00adduction", "prod\u2060", "li\u0301ve", "pr\u00f8d",
]  # fmt: skip
IMPOSSIBLE_NAMES = [
    "", " ", "\t", "tset", "test\n", "test;production", "test,stage", "-test", "test-", "te--st", "1test",
    "../stage", "test/../../production", "$(id)", "*", "te\u200bst", "te\u0455t", "TEST", "test --env x",
    "test\x00", "--env=x", "te" + "s" * 300 + "t",
]  # fmt: skip
HARMLESS_NAMES = [
    "test", "qa", "review", "dev", "sandbox", "preview", "demo", "test2", "qa-eu", "feature-x", "try", "ci",
    "ephemeral", "pr-12", "acceptance", "integration", "throw-away", "e2e", "plan", "delivery",
    "stack", "usual",
]  # fmt: skip

# What PROTECTED_ENVS says while TEST_ENV is an environment of the name, and how that must end.
PROTECTED_ENVS = [
    ("production;prod;stage", "production", 2), ("production prod", "production", 2),
    ("'production'", "production", 2), ('"production,prod"', "production", 2), ("production|prod", "live", 2),
    ("production\nprod", "prod", 2), ("production:prod", "prod", 2), ("production\uff0cprod", "prod", 2),
    ("[production]", "production", 2), ("prod*", "production", 2), (",", "production", 2),
    ("production,", "production", 2), ("production,,prod", "prod", 2), ("-", "production", 2),
    ("1", "production", 2), ("pro\u200bd", "prod", 2), ("", "production", 3), (" ", "production", 3),
    ("none", "production", 3), ("false", "production", 3), ("test2", "prod", 3), ("qa", "staging", 3),
    ("customer", "customer", 3), ("Customer", "customer", 3), (" customer ,qa", "customer", 3),
    ("customer", "customer-eu", 3), ("cust\u043emer", "customer", 3), ("customer", "cust0mer", 3),
    ("test", "test", 3), ("te", "test", 3), ("test-eu", "test", 3),
]  # fmt: skip
OTHER_SETTINGS = [
    ("COPILOT_APP", value)
    for value in ("", "Demo", "demo production", "demo/../other", "demo\n", "-demo", "demo;id", "dem\u043e")
] + [
    ("COPILOT_SERVICE", value)
    for value in ("", "web;id", "../web", "web --env=production", "Web", "web\n", "*", "w\u0435b", "web/")
]

# What the environment's record says, where it says anything, instead of `demo/test`.
MARKS = {
    "no tag": {},
    "an empty tag": {disposable.TAG: ""},
    "yes": {disposable.TAG: "true"},
    "of stage": {disposable.TAG: "demo/stage"},
    "of another application": {disposable.TAG: "other/test"},
    "of an application that begins alike": {disposable.TAG: "demo/test2"},
    "in capitals": {disposable.TAG: "Demo/Test"},
    "with spaces": {disposable.TAG: " demo/test "},
    "half made": {disposable.TAG: "creating demo/test"},
    "another key": {"copilot-testenv-Disposable": "demo/test"},
    "Copilot's own tags": {"copilot-application": "demo", "copilot-environment": "test"},
    "a look-alike": {disposable.TAG: "dem\u043e/test"},
}

COPILOTS = {"copilot-application": "demo", "copilot-environment": "test", "copilot-service": "web"}
OURS = made("web", "main") | {"expires_at": "2026-01-01T00:00:00Z"}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in OURS.items() if name not in names}


# The tags and status of a stack that has the slot's name and that these tasks have not deployed.
FOREIGN = {
    "plain Copilot's": (COPILOTS, "CREATE_COMPLETE"),
    "plain Copilot's, updated": (COPILOTS, "UPDATE_COMPLETE"),
    "plain Copilot's, rolled back": (COPILOTS, "ROLLBACK_COMPLETE"),
    "plain Copilot's, not deleted": (COPILOTS, "DELETE_FAILED"),
    "plain Copilot's, not made": (COPILOTS, "CREATE_FAILED"),
    "plain Copilot's, stuck": (COPILOTS, "UPDATE_ROLLBACK_FAILED"),
    "plain Copilot's, under way": (COPILOTS, "UPDATE_IN_PROGRESS"),
    "by nobody": (without("deployed_by"), "UPDATE_COMPLETE"),
    "of no moment": (without("deployed_at"), "UPDATE_COMPLETE"),
    "of no commit": (without("commit"), "UPDATE_COMPLETE"),
    "of no branch": (without("branch"), "UPDATE_COMPLETE"),
    "with empty tags": (OURS | {"deployed_by": "", "commit": ""}, "UPDATE_COMPLETE"),
    "of another application": (OURS | {"copilot-application": "demo-test"}, "UPDATE_COMPLETE"),
    "of another environment": (OURS | {"copilot-environment": "test-web"}, "UPDATE_COMPLETE"),
    "of another service": (OURS | {"copilot-service": "api"}, "UPDATE_COMPLETE"),
    "an environment itself": (
        {"copilot-application": "demo", "copilot-environment": "test-web"}, "UPDATE_COMPLETE",
    ),
    "made by hand": ({}, "CREATE_COMPLETE"),
    "of somebody else, in review": (
        {"copilot-application": "other", "copilot-environment": "test"}, "REVIEW_IN_PROGRESS",
    ),
}  # fmt: skip

# COPILOT_ENVIRONMENT_NAME, and what the image's deployment.json says of the environment.
CONTAINERS = [
    ("production", "test"), ("production", "production"), ("Prod", "Prod"), ("stage", None),
    ("live-eu", "live-eu"), ("pr\u043ed", "pr\u043ed"), ("uat", "uat"), ("test", "stage"), ("test", None),
    ("test", ""), ("", "test"), ("", None), ("test2", "test"),
    ("Test", "test"), (" test", "test"), ("qa", "test"), (None, "production"),
]  # fmt: skip
DATABASES = [
    "production", "Prod", "PRODUCTION", "proddb", "prod_db", "shop_production", "shop-prod", "shopprod",
    "live", "livedb", "shop_live", "prd_main", "stage", "staging", "my_staging_2", "stg", "uat_1", "preprod",
    "main", "master", "pr0d", "l1ve_shop", "pr\u043eddb", "\u0440rod", "\uff50rod", "prod\u200bdb",
    "pro\u00adduction",
    "PRODUKTION", "postgres", "Template1", "shop.prod", "shop prod",
]  # fmt: skip
HARMLESS_DATABASES = [
    "test", "products", "test_products", "product_test", "shop_test", "main_test", "backstage_test", "t12x",
    "qa", "dev", "preview", "producer_test", "review_app", "delivery", "test_1",
]  # fmt: skip

CASES = [
    *(("TEST_ENV", name) for name in (*PROTECTED_NAMES, *IMPOSSIBLE_NAMES)),
    *(("PROTECTED_ENVS", case) for case in PROTECTED_ENVS),
    *OTHER_SETTINGS,
    *(("mark", name) for name in MARKS),
    *(("stack", name) for name in FOREIGN),
    *(("container", case) for case in CONTAINERS),
    *(("database", name) for name in DATABASES),
]
