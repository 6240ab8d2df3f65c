"""The pool whose jobs run when the test says so."""

from __future__ import annotations

from servman.testing import ManualPool


def test_a_job_runs_when_told_and_not_before() -> None:
    pool, ran = ManualPool(), list[str]()
    pool.submit(lambda: ran.append("a"))
    pool.submit(lambda: ran.append("b"))
    assert ran == []
    pool.run(1)
    assert ran == ["b"]
    pool.run()
    assert ran == ["b", "a"]


def test_all_runs_what_jobs_submit_as_well() -> None:
    pool, ran = ManualPool(), list[str]()

    def first() -> None:
        ran.append("first")
        pool.submit(lambda: ran.append("second"))

    pool.submit(first)
    assert pool.run_all() == 2
    assert ran == ["first", "second"]
    assert pool.run_all() == 0


def test_closing_drops_the_jobs_and_takes_no_more() -> None:
    pool, ran = ManualPool(), list[str]()
    pool.submit(lambda: ran.append("before"))
    pool.close()
    pool.submit(lambda: ran.append("after"))
    assert pool.closed
    assert pool.run_all() == 0
    assert pool.join(None)
    assert ran == []


def test_a_resize_is_remembered() -> None:
    pool = ManualPool(2)
    assert pool.size == 2
    pool.resize(7)
    assert pool.size == 7
