"""The functions over a plan: apply, verify, undo. Each looks at the kernel first, and each may be called again.

They block (netlink, BPF, iptables); call them off the event loop.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from daemonset.capture.items import Item, Plan, Survey
from daemonset.capture.kernel import Ground, Site, standing
from daemonset.capture.namespace import inside
from daemonset.capture.plan import nothing
from daemonset.capture.steps import Step, held, plan_steps
from ebpf.layout import LISTENER_PORTS
from ebpf.sockets import SocketWalker
from mesh.errors import CaptureError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between a plan and the kernel.

    Args:
        what: "missing", "different" or "surplus".
        item: as planned; of something surplus, as found.
    """

    what: str
    item: Item

    def __str__(self) -> str:
        return f"{self.what}: {self.item}"


def _at(site: Site, step: str, walker: SocketWalker | None, work: Callable[[Ground], _T]) -> _T:
    """Runs work inside the site's namespace.

    Raises:
        CaptureError: the namespace, or the kernel, refused.
    """

    def run() -> _T:
        with standing(site, walker) as ground:
            return work(ground)

    try:
        return inside(site.netns, run)
    except OSError as error:
        raise CaptureError(site.name, f"{step}: {error.strerror or error}", error.errno or 0) from error


def survey(site: Site) -> Survey:
    """Looks at the pod's devices and addresses, for planning.

    Raises:
        CaptureError: the namespace cannot be read.
    """
    return _at(site, "survey", None, Ground.survey)


def holds_anything(site: Site) -> bool:
    """Whether the kernel holds anything of capture at the site.

    Raises:
        CaptureError: the namespace cannot be read.
    """
    return bool(_at(site, "read", None, Ground.read))


def apply(site: Site, plan: Plan, walker: SocketWalker | None) -> tuple[Step, ...]:
    """Makes the namespace what the plan says; what is so already is not touched.

    Returns:
        The steps that it took; none when all was as planned.
    Raises:
        CaptureError: a step failed. A namespace that was bare before is bare again; otherwise what was done stays, and another
            call goes on from there.
    """

    def work(ground: Ground) -> tuple[Step, ...]:
        before = ground.read()
        steps = plan_steps(before, plan)
        for step in steps:
            try:
                ground.perform(step)
            except OSError as error:
                if not before:
                    _clear(ground)
                raise CaptureError(site.name, f"{step}: {error.strerror or error}", error.errno or 0) from error
        return steps

    return _at(site, "apply", walker, work)


def _clear(ground: Ground) -> None:
    for step in plan_steps(ground.read(), nothing()):
        ground.perform(step)


def undo(site: Site, walker: SocketWalker | None) -> tuple[Step, ...]:
    """Leaves no trace of capture, whatever mode, phase or version made it. Returns the steps that it took.

    Raises:
        CaptureError: a step failed; another call goes on from there.
    """
    return apply(site, nothing(), walker)


def verify(site: Site, plan: Plan) -> tuple[Finding, ...]:
    """Compares the plan with what the kernel holds; empty when they agree.

    Raises:
        CaptureError: the namespace cannot be read.
    """
    before = _at(site, "verify", None, Ground.read)
    wanted = held(plan.items)
    absent = [Finding("different" if item.key in before else "missing", item) for item in plan.items if before.get(item.key) != item]
    return (*absent, *(Finding("surplus", item) for key, item in before.items() if key not in wanted))


def adopt(site: Site, walker: SocketWalker | None) -> tuple[int, ...]:
    """Puts ztunnel's listeners into the pod's listener map anew.

    Returns:
        The ports on which ztunnel has no listener; empty is well, as it is where capture needs no map.
    Raises:
        CaptureError: the kernel refused.
    """
    counts = _at(site, "adopt listeners", walker, Ground.adopt)
    return tuple(port for port, count in zip(LISTENER_PORTS, counts or (1,) * len(LISTENER_PORTS), strict=True) if not count)
