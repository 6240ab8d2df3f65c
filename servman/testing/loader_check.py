"""The contract of a loader, for whoever writes one: `check_loader`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from servman.errors import ServmanError
from servman.ids import ServableId
from servman.loader import LoadContext
from servman.resources import ResourceAllocation
from servman.testing.findings import Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from servman.loader import Loader

CHECKED_ID: Final = ServableId("checked", 1)
"""The version that the checks load, unless they are told of another."""

LOADER_METHODS: Final = ("estimate_resources", "load", "unload")
"""What every loader has."""

_TYPED = "raise a ServmanError that names the version and the remedy, so that waits and status can tell it"


def check_loader(
    make_loader: Callable[[], Loader],
    *,
    id: ServableId = CHECKED_ID,
    path: str | None = None,
    use: Callable[[Any], object] | None = None,
    change: Callable[[], object] | None = None,
    make_broken: Callable[[], Loader] | None = None,
) -> None:
    """Check that a loader keeps the promises that managers rely on.

    1. It estimates before it has loaded, the same each time, and after it has loaded; and estimating loads
       nothing that the load would miss.
    2. `load` returns a servable that is not None; it works on any thread, in each of several loaders at
       once, and again when an earlier load of it was given up.
    3. `unload` takes apart what it is handed and nothing else, on another thread than the load's.
    4. A load that was cancelled before it began raises a `ServmanError` or returns a servable that can be
       unloaded, and harms no later one.
    5. `revision`, where there is one, can be hashed, stays as it is while the files do, in all loaders of
       the version alike, and differs when they change.
    6. What fails raises a `ServmanError`, at each attempt.

    It makes some ten loads in all.

    Blocks: as long as the loader does; a call that does not return for `WATCHDOG` seconds is a violation.

    Args:
        make_loader: Makes a new loader of the same version at each call.
        id: The version.
        path: Where its files are: what `LoadContext.path` says.
        use: Is handed each servable while it is loaded, and raises if it does not work.
        change: Changes the files of the version, for `revision`. Called last.
        make_broken: Makes a loader of a version that cannot be loaded, such as of an empty directory.

    Raises:
        AssertionError: It breaks some of them; all are listed, each with what to do.
    """
    findings = Findings("the loader")
    check = _LoaderCheck(findings, make_loader, id, path, use)
    if check.has_methods():
        check.estimates()
        check.loads_side_by_side()
        check.loads_again_beside_a_load_that_was_given_up()
        check.survives_a_cancelled_load()
        check.revisions(change)
        if make_broken is not None:
            check.fails(make_broken)
    findings.report()


@final
class _LoaderCheck:
    def __init__(
        self,
        findings: Findings,
        make_loader: Callable[[], Loader],
        id: ServableId,
        path: str | None,
        use: Callable[[Any], object] | None,
    ) -> None:
        self._findings = findings
        self._make = make_loader
        self._id = id
        self._path = path
        self._use = use

    def has_methods(self) -> bool:
        loader = self._made()
        if loader is None:
            return False
        missing = [name for name in LOADER_METHODS if not callable(getattr(loader, name, None))]
        return self._findings.require(
            not missing,
            f"{type(loader).__name__} has no method {' and '.join(missing)}",
            "define all three methods of servman.Loader",
        )

    def estimates(self) -> None:
        loader = self._made()
        if loader is None:
            return
        before = [self._estimate(loader, "before the load") for _ in range(2)]
        self._findings.require(
            before[0] == before[1],
            f"estimate_resources() said {before[0]}, then {before[1]}",
            "say the same until something changes: what is set aside is what was said first",
        )
        servable = self._load(loader, attempt=1)
        if servable is not None:
            self._estimate(loader, "while it is loaded")
            self._unload(loader, servable)

    def loads_side_by_side(self) -> None:
        one, two = self._made(), self._made()
        if one is None or two is None:
            return
        self._findings.require(
            one is not two,
            "make_loader() returned one loader twice",
            "make a new one at each call: a loader stands for one version",
        )
        self._both(one, two, "a version that was loaded beside it by another loader")

    def loads_again_beside_a_load_that_was_given_up(self) -> None:
        loader = self._made()
        if loader is not None:
            self._both(loader, loader, "an attempt of the same loader that was given up")

    def survives_a_cancelled_load(self) -> None:
        loader = self._made()
        if loader is None:
            return
        context = LoadContext(self._id, self._path)
        context.cancelled.set()
        servable = self._findings.call(
            "load(context) of a version that was cancelled before",
            lambda: loader.load(context),
            "raise LoadCancelledError, or ignore context.cancelled and return the servable",
            may_raise=ServmanError,
        )
        if servable is not None:
            self._unload(loader, servable)
        again = self._load(loader, attempt=2)
        if again is not None:
            self._unload(loader, again)

    def revisions(self, change: Callable[[], object] | None) -> None:
        loader, other = self._made(), self._made()
        if loader is None or other is None or getattr(loader, "revision", None) is None:
            return
        first = self._revision(loader)
        servable = self._load(loader, attempt=1)
        seen = [self._revision(loader), self._revision(other)]
        if servable is not None:
            self._unload(loader, servable)
        seen.append(self._revision(loader))
        self._findings.require(
            all(one == first for one in seen),
            f"revision() said {first!r}, then {seen!r}, and the files did not change",
            "derive it from the names, sizes and times of the files alone, and write none while loading:"
            " each change of it is a new attempt to load",
        )
        if change is not None:
            change()
            self._findings.require(
                self._revision(loader) != first,
                f"revision() still said {first!r} when the files had changed",
                "let it tell of every file, so that a repaired version is tried again at once",
            )

    def fails(self, make_broken: Callable[[], Loader]) -> None:
        loader = self._findings.call(
            "make_broken()", make_broken, "make the loader without a look at its files"
        )
        if loader is None:
            return
        self._findings.call(
            "estimate_resources() of a broken version",
            loader.estimate_resources,
            _TYPED,
            may_raise=ServmanError,
        )
        for attempt in (1, 2):
            self._fails_once(loader, attempt)

    def _fails_once(self, loader: Loader, attempt: int) -> None:
        context, loaded = LoadContext(self._id, self._path, attempt), []
        what = f"load(context) of a broken version, attempt {attempt},"
        self._findings.call(
            what, lambda: loaded.append(loader.load(context)), _TYPED, may_raise=ServmanError
        )
        self._findings.require(
            not loaded,
            f"{what} returned {loaded}",
            "raise where the version cannot be served: what is returned becomes available",
        )

    def _both(self, first: Loader, second: Loader, other: str) -> None:
        """Load with one and the other, and let go of one while the other is in use."""
        one = self._load(first, attempt=1)
        two = self._load(second, attempt=2)
        if one is not None:
            self._unload(first, one)
        if two is not None:
            self._used(two, f"when {other} had been unloaded")
            self._unload(second, two)

    def _made(self) -> Loader | None:
        return self._findings.call(
            "make_loader()", self._make, "make the loader without a look at its files"
        )

    def _estimate(self, loader: Loader, when: str) -> object:
        remedy = (
            f"answer {when}, too; what cannot be told is ResourceAllocation(), which is nothing"
        )
        needs: object = self._findings.call(
            f"estimate_resources() {when}", loader.estimate_resources, remedy
        )
        if needs is not None:
            self._findings.require(
                isinstance(needs, ResourceAllocation),
                f"estimate_resources() {when} returned {needs!r}",
                "return a servman.ResourceAllocation",
            )
        return needs

    def _load(self, loader: Loader, attempt: int) -> object:
        context, loaded = LoadContext(self._id, self._path, attempt), []
        what = f"load(context) with attempt {attempt}"
        self._findings.call(
            what,
            lambda: loaded.append(loader.load(context)),
            "a version that is in order loads on any thread, beside others, and when it has been loaded before",
        )
        if loaded and self._findings.require(
            loaded[0] is not None, f"{what} returned None", "return the servable"
        ):
            self._used(loaded[0], "after its load")
            return loaded[0]
        return None

    def _used(self, servable: object, when: str) -> None:
        use = self._use
        if use is not None:
            self._findings.call(
                f"using the servable {when}",
                lambda: use(servable),
                "let what load(context) returned work until it is handed to unload",
            )

    def _unload(self, loader: Loader, servable: object) -> None:
        self._findings.call(
            "unload(servable)",
            lambda: loader.unload(servable),
            "take apart what is handed to it, on whichever thread calls, and keep no count of its own",
        )

    def _revision(self, loader: Loader) -> Hashable:
        revision: Hashable = self._findings.call(
            "hash(revision())",
            lambda: _hashed(loader.revision()),  # type: ignore[attr-defined] # was looked for
            "return what can be hashed and compared: a text, a number, a tuple of them",
        )
        return revision


def _hashed(revision: Hashable) -> Hashable:
    hash(revision)
    return revision
