"""What `WRK_CALLERS` says: which account of the database may place which actions, and whether with steps of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

EVERYBODY_ELSE = "*"
_EXAMPLE = "shop actions=delete_user,update_user steps=no; * actions=* steps=yes"
_ALL = "*"
_YES_OR_NO = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class CallerRule:
    """`actions`: None for all. `steps`: whether it may give steps of its own."""

    actions: frozenset[str] | None
    steps: bool


def parse_callers(text: str) -> dict[str, CallerRule]:
    """By the name of a user, or of a whole account (user@host). Raises ValueError with what is wrong and an example."""
    rules: dict[str, CallerRule] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, *given = part.split()
        if name in rules or "=" in name or (EVERYBODY_ELSE in name and name != EVERYBODY_ELSE):
            raise ValueError(f"{name!r} stands there twice, or is no name; such as: {_EXAMPLE}")
        rules[name] = _rule(name, given)
    if text and not rules:
        raise ValueError(f"it names nobody; such as: {_EXAMPLE}")
    return rules


def _rule(name: str, given: list[str]) -> CallerRule:
    said = dict(word.partition("=")[::2] for word in given)
    if len(given) != 2 or said.keys() != {"actions", "steps"}:
        raise ValueError(f"{name}: exactly actions= and steps= are needed; such as: {_EXAMPLE}")
    actions = frozenset(said["actions"].split(","))
    if "" in actions or (_ALL in actions and len(actions) > 1):
        raise ValueError(f"{name}: actions= is neither * nor names with commas and no spaces; such as: {_EXAMPLE}")
    if said["steps"] not in _YES_OR_NO:
        raise ValueError(f"{name}: steps={said['steps']} is neither yes nor no; such as: {_EXAMPLE}")
    return CallerRule(None if _ALL in actions else actions, _YES_OR_NO[said["steps"]])


def refusal(rules: Mapping[str, CallerRule], placed_by: str, action: str, *, has_steps: bool) -> str:
    """Why this request may not be started; empty when it may. It names nobody: every caller may read it."""
    if not rules:
        return ""
    if (rule := _rule_of(rules, str(placed_by))) is None:
        return "placed_by: WRK_CALLERS lets its caller place nothing; add the caller there and retry_request"
    if rule.actions is not None and action not in rule.actions:
        return "action: WRK_CALLERS does not let its caller place this one; add it there and retry_request"
    if has_steps and not rule.steps:
        return "steps: WRK_CALLERS lets its caller give none (steps=no); place it without steps, under another token"
    return ""


def is_named(name: str, account: str) -> bool:
    """Whether a name is that of this account, or of its user at whatever host. As of rules, a user with an @ is not."""
    return name == account or ("@" not in name and f"{name}@" == account[: account.rfind("@") + 1])


def _rule_of(rules: Mapping[str, CallerRule], account: str) -> CallerRule | None:
    """A whole account before its user before everybody else. A user with an @ in its name needs the whole account."""
    user = account.rpartition("@")[0]
    return rules.get(account) or (rules.get(user) if "@" not in user else None) or rules.get(EVERYBODY_ELSE)
