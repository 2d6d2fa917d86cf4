"""Our iptables chains, read and changed in the calling thread's network namespace by iptables-save and iptables-restore."""

import shutil
import subprocess
from functools import cache

from daemonset.capture.items import Chains
from daemonset.capture.plan import PREFIX

_COMMANDS = {4: "iptables", 6: "ip6tables"}
_NFT_FAMILIES = {4: "ip", 6: "ip6"}
_TABLES = ("mangle", "nat")
# Another program may hold the lock (legacy), or change the tables at the same moment (nft).
_WAIT_S = "5"
_TIMEOUT_S = 20


@cache
def backend() -> str:
    """ "nft" or "legacy": whichever the node uses, seen from the rules of the agent's own namespace; nft where there are none.

    Must be called first outside any pod's namespace.
    """
    if shutil.which("iptables-legacy-save") is None:
        return "nft"
    rules = _run([f"{_COMMANDS[4]}-legacy-save"]) if _legacy_in_use() else ""
    return "legacy" if any(line.startswith("-A") for line in rules.splitlines()) else "nft"


def _legacy_in_use() -> bool:
    """Asked before iptables-legacy-save is, since that would create the tables that it looks for."""
    try:
        with open("/proc/net/ip_tables_names", encoding="ascii") as names:  # noqa: PTH123 not worth a Path
            return bool(names.read().strip())
    except FileNotFoundError:
        return False


def _run(command: list[str], text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    if done.returncode:
        raise OSError(done.returncode, f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def commands() -> dict[str, str]:
    """The programs that are called here, with the Debian package of each."""
    needed = {_command(family, action): "iptables" for family in _COMMANDS for action in ("save", "restore")}
    return needed | ({"nft": "nftables"} if backend() == "nft" else {})


def _command(family: int, action: str) -> str:
    return f"{_COMMANDS[family]}-{backend()}-{action}"


def _save(family: int, table: str) -> list[str]:
    return _run([_command(family, "save"), "-t", table]).splitlines() if shutil.which(_command(family, "save")) else []


def _restore(family: int, table: str, lines: list[str]) -> None:
    """Changes one table in one transaction; what the lines do not name stays."""
    text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
    _run([_command(family, "restore"), "--noflush", "-w", _WAIT_S], text)


def _builtin(chain: str) -> str:
    return chain.removeprefix(PREFIX)


def _jumps(lines: list[str], chain: str) -> int:
    return lines.count(f"-A {_builtin(chain)} -j {chain}")


def read_chains() -> list[Chains]:
    """Our chains; one that no built-in chain leads to counts as absent."""
    found = []
    for family in _COMMANDS:
        for table in _TABLES:
            lines = _save(family, table)
            declared = [line[1:].split()[0] for line in lines if line.startswith(f":{PREFIX}")]
            chains = tuple(sorted(chain for chain in declared if _jumps(lines, chain)))
            if declared:
                found.append(Chains(family, table, chains, tuple(line for line in lines if line.startswith(f"-A {PREFIX}"))))
    return found


def add_chains(chains: Chains) -> None:
    """Makes our chains of the table these, and their jumps the first rules of the built-in chains; in one transaction."""
    before = _save(chains.family, chains.table)
    lines = [f":{chain} - [0:0]" for chain in chains.chains]
    for chain in chains.chains:
        jump = f"-j {chain}"
        lines += [f"-D {_builtin(chain)} {jump}"] * _jumps(before, chain) + [f"-I {_builtin(chain)} 1 {jump}"]
    _restore(chains.family, chains.table, [*lines, *chains.rules])


def remove_chains(chains: Chains) -> None:
    """Removes every chain of ours from the table, and (nft) what is left empty of what they needed: built-in chains, the table."""
    before = _save(chains.family, chains.table)
    ours = [line[1:].split()[0] for line in before if line.startswith(f":{PREFIX}")]
    if not ours:
        return
    jumps = [f"-D {_builtin(chain)} -j {chain}" for chain in ours for _ in range(_jumps(before, chain))]
    _restore(chains.family, chains.table, [*jumps, *(f"-F {chain}" for chain in ours), *(f"-X {chain}" for chain in ours)])
    if backend() == "nft":
        _remove_bare(chains, [_builtin(chain) for chain in ours])


def _remove_bare(chains: Chains, builtin: list[str]) -> None:
    """Removes those built-in chains that neither hold a rule nor refuse anything; with the last of them, the table."""
    lines = _save(chains.family, chains.table)
    declared = {line[1:].split()[0]: line.split()[1] for line in lines if line.startswith(":")}
    used = {line.split()[1] for line in lines if line.startswith("-A")}
    bare = {chain for chain, policy in declared.items() if policy == "ACCEPT" and chain not in used}
    table = [_NFT_FAMILIES[chains.family], chains.table]
    if bare == set(declared):
        _run(["nft", "delete", "table", *table])
        return
    for chain in bare & set(builtin):
        _run(["nft", "delete", "chain", *table, chain])
